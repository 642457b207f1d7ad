//! The common part of the import subcommands: opening the files, progress, interruption, and the summary.

use std::fs;
use std::io::{self, Write, stderr};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use csv::ByteRecord;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sqlx::PgPool;

use super::database::{DatabaseArgs, with_pool};
use super::error::UsageError;
use super::organisation_selector::OrganisationSelector;
use super::output::Output;
use super::rejected_rows::RejectedRows;
use super::signals::cancelled_by_signal;
use crate::import::columns::{ColumnNames, Renamed};
use crate::import::file::File;
use crate::import::record::Record;
use crate::import::{Changes, ImportError, Observer, Rows, Summary};

#[derive(Args)]
pub(super) struct ImportArgs {
    /// CSV file with a header, or NDJSON file with an object on each line, in UTF-8; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Organisation of the customers
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Report what the import would do, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Read the file's column THEIRS as the import's OURS, as in "First Name=firstName"; may be repeated
    #[arg(long = "map", value_name = "THEIRS=OURS")]
    renamed: Vec<Renamed>,
    /// Leave out columns that the import does not know, instead of rejecting the file
    #[arg(long)]
    ignore_unknown: bool,
    /// Keep the rejected rows in this CSV file, with the reason in a column rejectionReason, which an import ignores; what the file
    /// had is replaced
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
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
    pub(super) progress: &'a mut Progress,
}

impl ImportArgs {
    /// Runs `work` on the rows of the file. Prints rejected rows to stderr at once and the summary to stdout at the end, also
    /// after an error in the middle of the file.
    pub(super) async fn run<T: Record, C: Changes>(
        self,
        work: impl AsyncFnOnce(Import<'_, T>, &mut Summary<C>) -> Result<(), ImportError>,
    ) -> anyhow::Result<()> {
        // Before the database, which may have to start: a wrong file is reported at once.
        let (file, mut progress) = self.open().map_err(UsageError)?;
        let mut summary = Summary::<C>::default();
        let result = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let bar = progress.bar.clone();
            let stop = cancelled_by_signal(move || {
                print_above(&bar, "stopping after the rows in flight; Ctrl-C again stops at once");
            })?;
            let import = Import {
                pool,
                organisation,
                dry_run: self.dry_run,
                rows: Rows { batches: file.read(), stop },
                progress: &mut progress,
            };
            let result = work(import, &mut summary).await;
            result.map_err(|error| self.stopped(error, summary.rows))
        })
        .await;
        let kept = progress.finish();
        if result.is_ok() || summary.rows > 0 {
            self.print(&summary)?;
        }
        result?;
        kept?;
        if summary.rejected == 0 {
            return Ok(());
        }
        let correct = self
            .rejected
            .as_ref()
            .map(|file| format!(": correct them in {} and import that", file.display()));
        bail!("{} of {} row(s) were rejected{}", summary.rejected, summary.rows, correct.unwrap_or_default())
    }

    /// The input with its header read, and the file for rejected rows.
    fn open<T: Record>(&self) -> anyhow::Result<(File<T>, Progress)> {
        let name = self.file.display();
        let input = self.open_input().with_context(|| format!("{name} cannot be read"))?;
        let metadata = input.metadata()?;
        let names = ColumnNames { renamed: self.renamed.clone(), ignore_unknown: self.ignore_unknown };
        let file = File::open(input, names).with_context(|| name.to_string())?;
        let rejected = self.rejected.as_deref().map(|path| {
            RejectedRows::create(path, &metadata, file.header())
                .with_context(|| format!("--rejected: {} cannot be written", path.display()))
        });
        let bar = new_bar(metadata.is_file().then_some(metadata.len()));
        Ok((file, Progress { bar, rejected: rejected.transpose()? }))
    }

    fn open_input(&self) -> io::Result<fs::File> {
        if self.file.as_os_str() == "-" {
            return Ok(io::stdin().as_fd().try_clone_to_owned()?.into());
        }
        let file = fs::File::open(&self.file)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(file)
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

pub(super) struct Progress {
    bar: ProgressBar,
    rejected: Option<RejectedRows>,
}

impl Progress {
    fn finish(self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        self.rejected.map_or(Ok(()), RejectedRows::finish)
    }
}

impl Observer for Progress {
    fn rejected(&mut self, line: u64, cells: &ByteRecord, reason: &str) {
        let reason = format!("line {line}: {reason}");
        print_above(&self.bar, &reason);
        if let Some(rows) = &mut self.rejected {
            rows.push(&reason, cells);
        }
    }

    fn remark(&mut self, line: u64, remark: &str) {
        print_above(&self.bar, &format!("line {line}: {remark}"));
    }

    fn progress(&mut self, bytes: u64, rows: u64) {
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{rows} rows"));
    }
}

/// Hidden unless stderr is a terminal.
fn new_bar(size: Option<u64>) -> ProgressBar {
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
    bar
}

/// Not `eprintln!`, which panics if stderr is closed: valid rows are imported all the same.
fn print_above(bar: &ProgressBar, line: &str) {
    let _ = bar.suspend(|| writeln!(stderr(), "{line}"));
}
