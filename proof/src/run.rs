//! A run: customers are registered, clients call concurrently, and in the end everything is read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::bail;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::call::{Answer, Call};
use crate::client::Client;
use crate::customers::{FEW, FEW_REGISTERED, FIRST_NEIGHBOUR, FIRST_OUTSIDER, Id, MANY, MANY_REGISTERED};
use crate::feed::{FeedReader, MANNERS};
use crate::interner::Symbol;
use crate::model::Time;
use crate::world::World;

/// Clients that read in the end.
const READERS: usize = 8;
/// Organisations whose changes are followed: the one that most calls are in, and a neighbour.
const READ_ORGANISATIONS: usize = 2;
/// Outsiders that are created in the end, which shows whether they existed.
const MAX_OUTSIDERS: usize = 500;

pub struct Run {
    pub world: Arc<World>,
    seed: u64,
    /// In no order.
    pub calls: Vec<Call>,
    /// The clients that wander; they call about nothing that is locked.
    pub wanderers: BTreeSet<usize>,
    /// No call since then changes a relation.
    pub quiesced: Time,
    /// The readers of changes; in the end one for each organisation that has read from the start.
    pub readers: Vec<FeedReader>,
    clients: usize,
}

/// Readers of changes that run.
pub type Reading = JoinSet<anyhow::Result<FeedReader>>;

/// The calls of clients that run.
pub type Running = JoinSet<anyhow::Result<Vec<Call>>>;

impl Run {
    /// Registers the customers that are to exist from the start. `servers`: by server, then by organisation.
    pub async fn start(servers: Vec<Vec<Api>>, seed: u64) -> anyhow::Result<Self> {
        let world = Arc::new(World::new(servers));
        let wanderers = BTreeSet::new();
        let readers = Vec::new();
        let mut run = Self { world, seed, calls: Vec::new(), wanderers, quiesced: 0, readers, clients: 0 };
        let mut registrar = run.client();
        let neighbours: Vec<_> = run.world.neighbours().collect();
        for id in FEW_REGISTERED.chain(MANY_REGISTERED).chain(neighbours.iter().copied().flatten()) {
            if !registrar.create(id).await? {
                bail!("the server does not serve: is the URL right?");
            }
        }
        for [one, other] in neighbours {
            registrar.match_pair(one, other).await?;
        }
        run.calls.extend(registrar.into_calls());
        if let Some(Call { answer: Answer::Unexpected(answer), .. }) = run.calls.first() {
            bail!("a customer cannot be registered: {answer}");
        }
        Ok(run)
    }

    /// A run that made these calls.
    #[cfg(test)]
    pub fn of(calls: Vec<Call>) -> Self {
        let world = Arc::new(World::new(vec![Vec::new()]));
        let (wanderers, readers) = (BTreeSet::new(), Vec::new());
        Self { world, seed: 0, calls, wanderers, quiesced: Time::MAX, readers, clients: 1 }
    }

    /// Its calls are to be added to the run's in the end.
    pub fn client(&mut self) -> Client {
        self.clients += 1;
        Client::new(Arc::clone(&self.world), self.clients, self.seed)
    }

    /// Starts clients that call about what is not locked.
    pub fn start_wanderers(&mut self, count: usize, stop: &CancellationToken, running: &mut Running) {
        for _ in 0..count {
            let (mut client, stop) = (self.client(), stop.clone());
            self.wanderers.insert(self.clients);
            running.spawn(async move {
                let _stops_all = stop.clone().drop_guard();
                client.wander(&stop).await?;
                Ok(client.into_calls())
            });
        }
    }

    /// Starts clients that call about what is locked.
    pub fn start_visitors(&mut self, count: usize, stop: &CancellationToken, running: &mut Running) {
        for _ in 0..count {
            let (mut client, stop) = (self.client(), stop.clone());
            running.spawn(async move {
                let _stops_all = stop.clone().drop_guard();
                client.visit(&stop).await?;
                Ok(client.into_calls())
            });
        }
    }

    /// Starts readers of changes of the first organisations, in each manner and at each server.
    pub fn start_readers(&self, stop: &CancellationToken) -> Reading {
        let mut reading = Reading::new();
        let servers = self.world.servers.iter().enumerate();
        for (server, organisations) in servers {
            for organisation in 0..organisations.len().min(READ_ORGANISATIONS) {
                for manner in MANNERS {
                    let mut reader = FeedReader::new(Arc::clone(&self.world), server, organisation, manner);
                    let stop = stop.clone();
                    reading.spawn(async move {
                        let _stops_all = stop.clone().drop_guard();
                        reader.follow(&stop).await?;
                        Ok(reader)
                    });
                }
            }
        }
        reading
    }

    pub async fn join_readers(&mut self, mut reading: Reading) -> anyhow::Result<()> {
        while let Some(reader) = reading.join_next().await {
            self.readers.push(reader??);
        }
        Ok(())
    }

    /// Lets the readers read what is left, and others all from the start. No call may be in flight that changes a relation.
    pub async fn finish_readers(&mut self) -> anyhow::Result<()> {
        let organisations = self.world.servers.first().map_or(0, Vec::len).min(READ_ORGANISATIONS);
        let from_the_start = (0..organisations)
            .map(|organisation| FeedReader::new(Arc::clone(&self.world), 0, organisation, MANNERS[1]));
        self.readers.extend(from_the_start);
        try_join_all(self.readers.iter_mut().map(FeedReader::finish)).await?;
        Ok(())
    }

    pub async fn join(&mut self, mut running: Running) -> anyhow::Result<()> {
        while let Some(calls) = running.join_next().await {
            self.calls.extend(calls??);
        }
        Ok(())
    }

    /// Reads every list from both sides, all pages, and creates those that must not exist. No other call may be in flight.
    pub async fn read_everything(&mut self) -> anyhow::Result<()> {
        self.quiesced = self.world.now();
        self.read(FEW_REGISTERED.chain(MANY_REGISTERED).map(Question::List).collect()).await?;
        self.learn_from_lists();
        let registered = |id: &Id| FEW_REGISTERED.contains(id) || MANY_REGISTERED.contains(id);
        let others = self.customers().into_iter().filter(|id| !registered(id) && *id < FIRST_OUTSIDER);
        self.read(others.map(Question::List).collect()).await?;
        let few = FEW.chain(MANY).map(Question::Create);
        let outsiders = self.customers().split_off(&FIRST_OUTSIDER).into_iter().take(MAX_OUTSIDERS);
        self.read(few.chain(outsiders.map(Question::Create)).collect()).await
    }

    async fn read(&mut self, questions: Vec<Question>) -> anyhow::Result<()> {
        let mut running = Running::new();
        for reader in 0..READERS {
            let mut client = self.client();
            let part: Vec<_> = questions.iter().copied().skip(reader).step_by(READERS).collect();
            running.spawn(async move {
                for question in part {
                    match question {
                        Question::List(of) => client.whole_list(of).await?,
                        Question::Create(id) => client.create(id).await?,
                    };
                }
                Ok(client.into_calls())
            });
        }
        self.join(running).await
    }

    /// All that a call named.
    pub fn customers(&self) -> BTreeSet<Id> {
        self.calls.iter().flat_map(|call| call.request.customers()).collect()
    }

    /// By e-mail address in the normal form.
    pub fn by_email(&self) -> HashMap<Symbol, Id> {
        let email = |id: &Id| self.world.interner.symbol(&self.world.customers.email(*id));
        self.customers().iter().map(|id| (email(id), *id)).collect()
    }

    /// The reference of a guest is first seen in a list.
    fn learn_from_lists(&self) {
        let by_email = self.by_email();
        for call in &self.calls {
            let Answer::Listed(list) = &call.answer else { continue };
            for item in &list.items {
                if let Some(id) = by_email.get(&item.email)
                    && *id < FIRST_NEIGHBOUR
                {
                    self.world.customers.learn(*id, &self.world.interner.text(item.reference));
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Question {
    List(Id),
    Create(Id),
}
