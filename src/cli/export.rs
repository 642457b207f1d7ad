//! The common part of the export subcommands: the file, which appears whole or not at all, and its formats.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serializer as _;
use serde_json::Value;
use sqlx::PgConnection;
use tempfile::NamedTempFile;

use super::database::{DatabaseArgs, with_pool};
use super::error::UsageError;
use super::organisation_selector::OrganisationSelector;
use super::signals::{Interrupted, cancelled_by_signal};
use crate::db::export;
use crate::import::formula::guard;

#[derive(Args)]
pub(super) struct ExportArgs {
    /// File to create, readable for its owner only; - writes to standard output
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Organisation of the customers
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Format of the file [default: ndjson if its name ends with .ndjson or .jsonl, else csv]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Add the times, which an import does not read
    #[arg(long)]
    times: bool,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A header and rows, also for spreadsheets
    Csv,
    /// A JSON object on each line
    Ndjson,
}

/// What an export is of.
pub(super) struct Subject {
    /// In words, for the last line: `customer(s)`.
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
    /// Behind those, if they are asked for.
    pub(super) times: &'static [&'static str],
}

impl ExportArgs {
    /// Runs `work`, which writes the rows.
    pub(super) async fn run(
        self,
        subject: Subject,
        work: impl AsyncFnOnce(&mut PgConnection, i64, &mut Rows) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let name = self.file.display();
        // Before the database, which may have to start: a wrong file is reported at once.
        let (target, output) =
            self.open().with_context(|| format!("{name} cannot be written")).map_err(UsageError)?;
        let times = subject.times.iter().filter(|_| self.times);
        let columns = subject.columns.iter().chain(times).copied().collect();
        let mut rows = Rows::new(self.format(), columns, output).context("the header cannot be written")?;
        with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let stop = cancelled_by_signal(|| {})?;
            let mut connection = export::connect(pool).await?;
            let work = work(&mut connection, organisation, &mut rows);
            stop.run_until_cancelled(work).await.unwrap_or_else(|| Err(Interrupted.into()))?;
            Ok(export::close(connection).await?)
        })
        .await?;
        let count = rows.count;
        rows.finish().and_then(|()| target.finish()).with_context(|| format!("{name} cannot be written"))?;
        // Not `eprintln!`, which panics if stderr is closed.
        let _ = writeln!(stderr(), "{count} {} exported.", subject.name);
        Ok(())
    }

    fn format(&self) -> Format {
        let extension = self.file.extension().and_then(|extension| extension.to_str());
        self.format.unwrap_or(match extension {
            Some("ndjson" | "jsonl") => Format::Ndjson,
            _ => Format::Csv,
        })
    }

    fn open(&self) -> anyhow::Result<(Target, Box<dyn Write>)> {
        if self.file.as_os_str() == "-" {
            return Ok((Target::Open, Box::new(stdout())));
        }
        let existing = fs::metadata(&self.file).ok();
        if existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            // A device or a named pipe.
            return Ok((Target::Open, Box::new(OpenOptions::new().write(true).open(&self.file)?)));
        }
        ensure!(existing.is_none() || self.overwrite, "it exists, and --overwrite is not given");
        // The file that a symbolic link stands for.
        let path = if existing.is_some() { fs::canonicalize(&self.file)? } else { self.file.clone() };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        let output = Box::new(file.as_file().try_clone()?);
        Ok((Target::New { file, path, overwrite: self.overwrite }, output))
    }
}

/// Where the rows go.
enum Target {
    /// The standard output, or what was there and is no regular file.
    Open,
    /// A file that gets its name at the end, and is deleted if that does not come.
    New { file: NamedTempFile, path: PathBuf, overwrite: bool },
}

impl Target {
    fn finish(self) -> io::Result<()> {
        let Self::New { file, path, overwrite } = self else { return Ok(()) };
        file.as_file().sync_all()?;
        // Another process may have created a file since.
        if overwrite {
            file.persist(path)?
        } else {
            file.persist_noclobber(path)?
        };
        Ok(())
    }
}

/// Writes rows in the format of the file.
pub(super) struct Rows {
    columns: Vec<&'static str>,
    writer: Writer,
    count: u64,
}

enum Writer {
    Csv(Box<csv::Writer<Box<dyn Write>>>),
    Ndjson(BufWriter<Box<dyn Write>>),
}

impl Rows {
    fn new(format: Format, columns: Vec<&'static str>, output: Box<dyn Write>) -> csv::Result<Self> {
        let writer = match format {
            Format::Ndjson => Writer::Ndjson(BufWriter::new(output)),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(output);
                writer.write_record(&columns)?;
                Writer::Csv(Box::new(writer))
            }
        };
        Ok(Self { columns, writer, count: 0 })
    }

    /// Writes the values of the columns; what is behind them is left out.
    pub(super) fn write(&mut self, values: impl IntoIterator<Item = Value>) -> anyhow::Result<()> {
        let members = self.columns.iter().zip(values);
        match &mut self.writer {
            Writer::Csv(writer) => {
                for (_, value) in members {
                    match value {
                        Value::Null => writer.write_field(""),
                        Value::String(text) => writer.write_field(guard(&text).as_bytes()),
                        value => writer.write_field(value.to_string()),
                    }?;
                }
                writer.write_record(None::<&[u8]>)?;
            }
            Writer::Ndjson(writer) => {
                serde_json::Serializer::new(&mut *writer).collect_map(members)?;
                writer.write_all(b"\n")?;
            }
        }
        self.count += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        match &mut self.writer {
            Writer::Csv(writer) => writer.flush(),
            Writer::Ndjson(writer) => writer.flush(),
        }
    }
}
