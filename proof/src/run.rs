//! A run: customers are registered, clients call all at once, and in the end everything is read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use anyhow::bail;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::call::{Answer, Call, Request};
use crate::client::{Client, World};
use crate::customers::{Customers, FEW, FEW_REGISTERED, FIRST_OUTSIDER, Id, MANY, MANY_REGISTERED};
use crate::interner::{Symbol, Symbols};
use crate::model::Time;

/// Clients beside those that call at random: whoever registers, and whoever reads in the end.
const READERS: usize = 8;
/// Outsiders of whom is asked in the end whether they exist, which makes them exist.
const OUTSIDERS: usize = 500;

pub struct Run {
    pub world: Arc<World>,
    seed: u64,
    /// All that have ended, in no order.
    pub calls: Vec<Call>,
    /// From then on nothing was called that changes a relation.
    pub settled: Time,
    clients: usize,
}

impl Run {
    /// Registers those who are to be known from the start.
    pub async fn start(servers: Vec<Api>, seed: u64) -> anyhow::Result<Self> {
        let (customers, symbols, began) = (Customers::new(), Symbols::default(), Instant::now());
        let world = Arc::new(World { servers, customers, symbols, newcomers: AtomicU32::default(), began });
        let mut run = Self { world, seed, calls: Vec::new(), settled: 0, clients: 0 };
        let mut registrar = run.client();
        for id in FEW_REGISTERED.chain(MANY_REGISTERED) {
            if !registrar.create(id).await? {
                bail!("the server does not serve: is it the right address?");
            }
        }
        run.calls.extend(registrar.into_calls());
        if let Some(Call { answer: Answer::Unexpected(answer), .. }) = run.calls.first() {
            bail!("a customer cannot be registered: {answer}");
        }
        Ok(run)
    }

    /// Another client, whose calls are to come to the others' in the end.
    pub fn client(&mut self) -> Client {
        self.clients += 1;
        Client::new(Arc::clone(&self.world), self.clients, self.seed)
    }

    /// Lets so many clients call until they are told to stop.
    pub fn set_out(
        &mut self,
        clients: usize,
        stop: &CancellationToken,
    ) -> JoinSet<anyhow::Result<Vec<Call>>> {
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let (mut client, stop) = (self.client(), stop.clone());
            running.spawn(async move {
                let _all = stop.clone().drop_guard();
                client.run(&stop).await?;
                Ok(client.into_calls())
            });
        }
        running
    }

    /// Waits for the clients.
    pub async fn gather(&mut self, mut running: JoinSet<anyhow::Result<Vec<Call>>>) -> anyhow::Result<()> {
        while let Some(calls) = running.join_next().await {
            self.calls.extend(calls??);
        }
        Ok(())
    }

    /// Reads every list from both sides, all pages, and asks for those who must not exist. Nothing else may be under way.
    pub async fn read_everything(&mut self) -> anyhow::Result<()> {
        self.settled = self.world.now();
        self.read(FEW_REGISTERED.chain(MANY_REGISTERED).map(Question::List).collect()).await?;
        self.learn_from_lists();
        let registered = |id: &Id| FEW_REGISTERED.contains(id) || MANY_REGISTERED.contains(id);
        let others = self.customers().into_iter().filter(|id| !registered(id) && *id < FIRST_OUTSIDER);
        self.read(others.map(Question::List).collect()).await?;
        let few = FEW.chain(MANY).map(Question::Create);
        let outsiders = self.outsiders().into_iter().take(OUTSIDERS).map(Question::Create);
        self.read(few.chain(outsiders).collect()).await
    }

    async fn read(&mut self, questions: Vec<Question>) -> anyhow::Result<()> {
        let mut running = JoinSet::new();
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
        self.gather(running).await
    }

    /// Everybody whom somebody asked for.
    pub fn customers(&self) -> BTreeSet<Id> {
        let named = |call: &Call| match call.request {
            Request::Match { manager, customer, .. } | Request::Unmatch { manager, customer } => {
                [Some(manager), Some(customer)]
            }
            Request::List { of: id } | Request::Create { id } => [Some(id), None],
            Request::Wrong { wrong } => [wrong.outsider, None],
        };
        self.calls.iter().flat_map(named).flatten().collect()
    }

    fn outsiders(&self) -> BTreeSet<Id> {
        self.customers().split_off(&FIRST_OUTSIDER)
    }

    /// Whose address in the normal form it is.
    pub fn by_email(&self) -> HashMap<Symbol, Id> {
        let email = |id: &Id| self.world.symbols.symbol(&self.world.customers.email(*id));
        self.customers().iter().map(|id| (email(id), *id)).collect()
    }

    /// A guest's reference is first seen in a list, unless somebody asked for it.
    fn learn_from_lists(&self) {
        let by_email = self.by_email();
        for call in &self.calls {
            let Answer::Listed(list) = &call.answer else { continue };
            for item in &list.items {
                if let Some(id) = by_email.get(&item.email) {
                    self.world.customers.learn(*id, &self.world.symbols.text(item.reference));
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
