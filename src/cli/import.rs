//! The common part of the import subcommands: opening the file, progress, interruption, and the summary.

use std::fs;
use std::io::{self, Read, Write, stderr};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sqlx::PgPool;

use super::database::{DatabaseArgs, with_pool};
use super::error::{UsageError, no_organisation};
use super::output::Output;
use super::signals::cancelled_by_signal;
use crate::db::organisation;
use crate::import::file::{File, Record};
use crate::import::{Changes, ImportError, Observer, Rows, Summary};

#[derive(Args)]
pub(super) struct ImportArgs {
    /// CSV file with a header, in UTF-8; - reads standard input
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Organisation of the customers
    #[arg(long, value_name = "ID", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: i64,
    /// Report what the import would do, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

pub(super) struct Import<'a, T> {
    pub(super) pool: &'a PgPool,
    pub(super) organisation: i64,
    pub(super) dry_run: bool,
    pub(super) rows: Rows<T>,
    pub(super) bar: &'a mut Bar,
}

impl ImportArgs {
    /// Runs `work` on the rows of the file. Prints rejected rows to stderr at once and the summary to stdout at the end, also
    /// after an error in the middle of the file.
    pub(super) async fn run<T: Record, C: Changes>(
        self,
        work: impl AsyncFnOnce(Import<'_, T>, &mut Summary<C>) -> Result<(), ImportError>,
    ) -> anyhow::Result<()> {
        let name = self.file.display();
        // Before the database, which may have to start: a wrong file is reported at once.
        let (input, size) =
            self.open().with_context(|| format!("{name} cannot be read")).map_err(UsageError)?;
        let file = File::open(input).map_err(|error| UsageError(anyhow!(error).context(name.to_string())))?;
        let mut bar = Bar::new(size);
        let mut summary = Summary::<C>::default();
        let result = with_pool(&self.database, async |pool| {
            if !organisation::exists(pool, self.organisation).await? {
                return Err(no_organisation(self.organisation));
            }
            let printing = bar.clone();
            let stop = cancelled_by_signal(move || {
                printing.print("stopping after the rows in flight; Ctrl-C again stops at once");
            })?;
            let import = Import {
                pool,
                organisation: self.organisation,
                dry_run: self.dry_run,
                rows: Rows { batches: file.read(), stop },
                bar: &mut bar,
            };
            let result = work(import, &mut summary).await;
            result.map_err(|error| self.stopped(error, summary.rows))
        })
        .await;
        bar.finish();
        if result.is_ok() || summary.rows > 0 {
            self.print(&summary)?;
        }
        result?;
        match summary.rejected {
            0 => Ok(()),
            rejected => bail!("{rejected} of {} row(s) were rejected", summary.rows),
        }
    }

    fn open(&self) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        if self.file.as_os_str() == "-" {
            return Ok((Box::new(io::stdin()), None));
        }
        let file = fs::File::open(&self.file)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
    }

    fn stopped(&self, error: ImportError, rows: u64) -> anyhow::Error {
        let name = self.file.display();
        let correct =
            if matches!(error, ImportError::Interrupted) { "" } else { "correct the file if necessary and " };
        let message = if self.dry_run {
            format!("{name}: the dry run stopped after {rows} row(s)")
        } else {
            format!(
                "{name}: the import stopped after {rows} row(s), which are stored: {correct}run the import again, it continues \
                 after them"
            )
        };
        anyhow!(error).context(message)
    }

    fn print(&self, summary: &Summary<impl Changes>) -> anyhow::Result<()> {
        let mut value = json!({ "dryRun": self.dry_run });
        if let (Some(value), serde_json::Value::Object(counts)) = (value.as_object_mut(), json!(summary)) {
            value.extend(counts);
        }
        self.output.print(&value, || {
            let dry = if self.dry_run { "Dry run, nothing was written: " } else { "" };
            let (rows, rejected) = (summary.rows, summary.rejected);
            format!("{dry}{rows} row(s): {}, {rejected} rejected.", summary.changes)
        })
    }
}

/// A progress bar, on a terminal only. Rejected rows are printed in any case.
#[derive(Clone)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    fn new(size: Option<u64>) -> Self {
        // Hidden unless stderr is a terminal.
        let bar = match size {
            Some(size) => ProgressBar::new(size),
            None => ProgressBar::new_spinner(),
        };
        let template = match size {
            Some(_) => "{wide_bar} {percent:>3} %  {msg}  {eta} left",
            None => "{spinner} {binary_bytes}  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }

    /// Not `eprintln!`, which panics if stderr is closed: valid rows are imported all the same.
    fn print(&self, line: &str) {
        let _ = self.0.suspend(|| writeln!(stderr(), "{line}"));
    }
}

impl Observer for Bar {
    fn rejected(&mut self, line: u64, reason: &str) {
        self.print(&format!("line {line}: {reason}"));
    }

    fn progress(&mut self, bytes: u64, rows: u64) {
        self.0.set_position(bytes);
        self.0.set_message(format!("{rows} rows"));
    }
}
