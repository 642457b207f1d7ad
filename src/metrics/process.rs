//! The process as the kernel sees it, under the names that every Prometheus client gives these metrics. From /proc, so on Linux alone.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What proc_pid_stat(5) calls utime, stime, num_threads, starttime, vsize and rss, counted from the state, which is its third field.
const CPU_TIMES: [usize; 2] = [11, 12];
const THREADS: usize = 17;
const START_TIME: usize = 19;
const VIRTUAL_MEMORY: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Registers what can be read.
pub(super) fn register(registry: &mut Registry) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    // The second field is the name of the program in parentheses, which may hold anything.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<f64> = fields.split(' ').map(|field| field.trim().parse().unwrap_or_default()).collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    let seconds = |ticks: f64| ticks / clock_ticks_per_second() as f64;

    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(seconds(CPU_TIMES.map(field).iter().sum()));
    registry.register_with_unit("process_cpu", "User and system CPU time", Unit::Seconds, cpu);
    registry.register("process_threads", "Threads", gauge(field(THREADS)));
    let memory = gauge(field(VIRTUAL_MEMORY));
    registry.register_with_unit("process_virtual_memory", "Virtual memory", Unit::Bytes, memory);
    let memory = gauge(field(RESIDENT_PAGES) * page_size() as f64);
    registry.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, memory);
    if let Some(boot) = boot_time() {
        let start = gauge(boot + seconds(field(START_TIME)));
        let help = "Start of the process since the Unix epoch";
        registry.register_with_unit("process_start_time", help, Unit::Seconds, start);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // Without that of this directory.
        registry.register("process_open_fds", "Open file descriptors", gauge(open.count() as f64 - 1.0));
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        registry.register("process_max_fds", "Most open file descriptors", gauge(max as f64));
    }
}

/// Of the machine, in seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn gauge(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_is_read() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let sample = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            sample.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((0.0..3600.0).contains(&(age + 1.0)), "{age}");
        assert!(value("process_cpu_seconds_total") < 3600.0);
        assert!(value("process_threads") >= 1.0);
        assert!((1e6..1e11).contains(&value("process_resident_memory_bytes")));
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
    }
}
