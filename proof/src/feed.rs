//! Readers that follow the changes of an organisation beside the clients, and what they have seen in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, CHANGES, Reply};
use crate::model::Time;
use crate::world::World;

/// After a call that was not served, and between two calls of a reader that does not wait.
const PAUSE: Duration = Duration::from_millis(50);
/// In the end: longer than a transaction of the server holds changes back.
const LAST_WAIT: &str = "2";
/// In the end no fault is in the way.
const UNSERVED_TIMEOUT: Duration = Duration::from_secs(60);

/// The state of a relation, as a reader has seen it or the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationRow {
    pub version: i64,
    pub active: bool,
    /// The side with the lower reference first.
    pub managers: [bool; 2],
    pub notice: String,
}

/// By the references of the pair, the lower one first.
pub type Relations = BTreeMap<[String; 2], RelationRow>;

/// A relation as a page has it, by its pair.
type Item = ([String; 2], RelationRow);

/// How a reader calls.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub limit: &'static str,
    /// Seconds.
    pub wait: &'static str,
}

/// Short pages without waiting, so that a cursor stands everywhere once; long ones that wait.
pub const MANNERS: [Manner; 2] = [Manner { limit: "7", wait: "0" }, Manner { limit: "500", wait: "1" }];

pub struct FeedReader {
    world: Arc<World>,
    server: usize,
    /// Its index.
    pub organisation: usize,
    pub manner: Manner,
    cursor: Option<String>,
    pub seen: Relations,
    /// Answers that no reader may get, and when.
    pub faults: Vec<(Time, String)>,
    /// When it was told to read everything again.
    pub restarts: Vec<Time>,
    /// The server has no such endpoint.
    pub absent: bool,
}

impl FeedReader {
    pub fn new(world: Arc<World>, server: usize, organisation: usize, manner: Manner) -> Self {
        let (cursor, seen, faults, restarts) = (None, Relations::new(), Vec::new(), Vec::new());
        Self { world, server, organisation, manner, cursor, seen, faults, restarts, absent: false }
    }

    /// Until `stop` and the end of the call in flight.
    pub async fn follow(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() && !self.absent {
            let more = self.page(self.manner.wait).await?.unwrap_or_default();
            if !more {
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        Ok(())
    }

    /// Reads what is left, when no call changes anything any more.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        let mut served = Instant::now();
        while !self.absent {
            match self.page(LAST_WAIT).await? {
                Some(false) => break,
                Some(true) => served = Instant::now(),
                None if served.elapsed() > UNSERVED_TIMEOUT => {
                    self.faults
                        .push((self.world.now(), "no page of changes was served for a minute".to_owned()));
                    break;
                }
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        Ok(())
    }

    /// Whether the page had items; `None` if the call was not served.
    async fn page(&mut self, wait: &str) -> anyhow::Result<Option<bool>> {
        let mut parameters = vec![("limit", self.manner.limit), ("wait", wait)];
        parameters.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let reply = self.api().get(CHANGES, &parameters).await?;
        let now = self.world.now();
        match reply {
            Reply::Answer { status: 200, body } => {
                let page = read_page(&body);
                let Some((items, cursor)) = page else {
                    self.faults.push((now, format!("200 {body}")));
                    return Ok(None);
                };
                let any = !items.is_empty();
                for (pair, row) in items {
                    self.see(now, pair, row);
                }
                self.cursor = Some(cursor);
                Ok(Some(any))
            }
            Reply::Answer { status: 404, body } if body["error"]["code"] == "INTERNAL_RESOURCE_NOT_FOUND" => {
                self.absent = true;
                Ok(None)
            }
            Reply::Answer { status: 409, body } if body["error"]["code"] == "PUBLIC_CHANGES_START_AGAIN" => {
                self.restarts.push(now);
                (self.cursor, self.seen) = (None, Relations::new());
                Ok(None)
            }
            Reply::Answer { status: 503, .. } | Reply::NotSent | Reply::Lost | Reply::TimedOut => Ok(None),
            Reply::Answer { status, body } => {
                self.faults.push((now, format!("{status} {body}")));
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
        }
    }

    /// A page whose answer was lost comes again; an older state never does.
    fn see(&mut self, now: Time, pair: [String; 2], row: RelationRow) {
        if let Some(before) = self.seen.get(&pair).filter(|before| before.version > row.version) {
            let [low, high] = &pair;
            let text = format!("version {} of {low} and {high} came after {}", row.version, before.version);
            self.faults.push((now, text));
        }
        self.seen.insert(pair, row);
    }

    fn api(&self) -> &Api {
        let organisations = &self.world.servers[self.server];
        organisations.get(self.organisation).unwrap_or(&organisations[0])
    }
}

/// The items in their order, and the cursor.
fn read_page(body: &Value) -> Option<(Vec<Item>, String)> {
    let items = body["items"].as_array()?.iter().map(read_item).collect::<Option<_>>()?;
    Some((items, body["nextCursor"].as_str()?.to_owned()))
}

fn read_item(item: &Value) -> Option<Item> {
    let (manager, customer) = (item["managerCuRefNo"].as_str()?, item["customerCuRefNo"].as_str()?);
    let both = item["role"].as_str()? == "both";
    let row = RelationRow {
        version: item["version"].as_i64()?,
        active: item["active"].as_bool()?,
        managers: [both || manager < customer, both || customer < manager],
        notice: item["notice"].as_str().unwrap_or_default().to_owned(),
    };
    Some(([manager.min(customer).to_owned(), manager.max(customer).to_owned()], row))
}
