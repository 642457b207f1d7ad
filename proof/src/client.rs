//! A client: makes one call after the other, at random, and writes down each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rand::distr::{Alphanumeric, SampleString};
use rand::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, CREATE, LIST, MATCH, Reply, UNMATCH};
use crate::call::{Answer, Call, Item, List, Representation, Request, Wrong};
use crate::customers::{
    Customers, FEW, FEW_REGISTERED, FIRST_NEWCOMER, FIRST_OUTSIDER, Id, MANY, MANY_REGISTERED,
};
use crate::interner::{Symbol, Symbols};
use crate::model::{Change, Time};

/// So many calls in a row are about the same newcomer: the first of them meet.
const CALLS_PER_NEWCOMER: Id = 6;
/// Between a call that found nobody and the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Contract §1.
const LONGEST_NOTICE: usize = 10_000;
/// The most that a page has.
const PAGE: &str = "500";
/// So that the last lists are read in several pages.
const LAST_PAGE: &str = "25";

/// What all clients share.
pub struct World {
    /// Several servers on one database are one server.
    pub servers: Vec<Api>,
    pub customers: Customers,
    pub symbols: Symbols,
    /// Calls about newcomers.
    pub newcomers: AtomicU32,
    pub began: Instant,
}

impl World {
    pub fn now(&self) -> Time {
        // 580 years.
        Time::try_from(self.began.elapsed().as_nanos()).unwrap_or(Time::MAX)
    }
}

pub struct Client {
    world: Arc<World>,
    api: Api,
    number: usize,
    random: StdRng,
    calls: Vec<Call>,
    /// Counts what must be unique.
    count: u32,
}

impl Client {
    /// The `number`th client; each calls one server.
    pub fn new(world: Arc<World>, number: usize, seed: u64) -> Self {
        let api = world.servers[number % world.servers.len()].clone();
        let random = StdRng::seed_from_u64(seed.wrapping_add(u64::try_from(number).unwrap_or_default()));
        Self { world, api, number, random, calls: Vec::new(), count: 0 }
    }

    pub fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    /// Calls until it is told to stop, and to the end of the call that is under way then.
    pub async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            if !self.anything().await? {
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        Ok(())
    }

    /// Makes one call of any kind; false if it was not served.
    async fn anything(&mut self) -> anyhow::Result<bool> {
        match self.random.random_range(0..100) {
            0..40 => {
                let (manager, customer) = self.pair();
                self.match_pair(manager, customer).await
            }
            40..55 => {
                let (manager, customer) = self.pair();
                self.unmatch(manager, customer).await
            }
            55..75 => {
                let of = self.one_with_reference();
                self.list(of).await
            }
            75..80 => {
                let id = if self.random.random() { self.newcomer() } else { self.one(0.5) };
                self.create(id).await
            }
            80..92 => self.match_newcomer().await,
            _ => self.wrong().await,
        }
    }

    /// Somebody out of few or of many.
    fn one(&mut self, few: f64) -> Id {
        let range = if self.random.random_bool(few) { FEW } else { MANY };
        self.random.random_range(range)
    }

    /// Those of many have long lists.
    fn one_with_reference(&mut self) -> Id {
        let id = self.one(0.9);
        if self.world.customers.reference(id).is_some() { id } else { FEW_REGISTERED.start }
    }

    /// Two out of few or two out of many, in either direction.
    fn pair(&mut self) -> (Id, Id) {
        let range = if self.random.random_bool(0.6) { FEW } else { MANY };
        let one = self.random.random_range(range.clone());
        loop {
            let other = self.random.random_range(range.clone());
            if other != one {
                return (one, other);
            }
        }
    }

    /// A text that nobody else writes, or one of a few, or none at all; and a spelling of it.
    fn notice(&mut self) -> Option<(Symbol, String)> {
        self.count += 1;
        let normal = match self.random.random_range(0..100) {
            0..35 => return None,
            35..50 => String::new(),
            50..65 => format!("one of three: {}", self.random.random_range(0..3)),
            65..99 => format!("{}.{} comes\ntwice a week", self.number, self.count),
            _ => {
                let mut long = format!("{}.{} long ", self.number, self.count);
                long.extend(std::iter::repeat_n('ž', LONGEST_NOTICE - long.len()));
                long
            }
        };
        let text = match self.random.random_range(0..3) {
            0 => normal.clone(),
            1 => format!(" {}\r\n\t", normal.replace('\n', "\r\n")),
            _ => format!("\n\u{3000}{}", normal.replace('\n', "\r")),
        };
        Some((self.world.symbols.symbol(&normal), text))
    }

    async fn match_pair(&mut self, manager: Id, customer: Id) -> anyhow::Result<bool> {
        let customers = &self.world.customers;
        let (manager, customer, reference) =
            match (customers.reference(manager), customers.reference(customer)) {
                (Some(reference), _) => (manager, customer, reference),
                (None, Some(reference)) => (customer, manager, reference),
                // Neither is known yet: one of those who are takes part.
                (None, None) => {
                    let known = if FEW.contains(&manager) { FEW_REGISTERED } else { MANY_REGISTERED };
                    let known = self.random.random_range(known);
                    let Some(reference) = customers.reference(known) else { return Ok(false) };
                    (known, customer, reference)
                }
            };
        let mut body = json!({ "managerCuRefNo": reference });
        let known = self.world.customers.reference(customer);
        let by_email = known.is_none() || self.random.random();
        if by_email {
            body["customerEmail"] = json!(self.world.customers.spelling(customer, &mut self.random));
        } else {
            body["customerCuRefNo"] = json!(known);
            if self.random.random_bool(0.1) {
                // The reference decides.
                body["customerEmail"] = json!(self.world.customers.email(manager));
            }
        }
        let notice = self.notice();
        if let Some((_, text)) = &notice {
            body["notice"] = json!(text);
        } else if self.random.random() {
            body["notice"] = Value::Null;
        }
        let represent = self.random.random_bool(0.3);
        let notice = notice.map(|(symbol, _)| symbol);
        let request = Request::Match { manager, customer, by_email, notice, represent };
        self.post(MATCH, body.to_string(), request).await
    }

    /// Somebody new, whom others may match at the same moment, with the same one of many or another.
    pub async fn match_newcomer(&mut self) -> anyhow::Result<bool> {
        let newcomer = self.newcomer();
        let meeting = MANY_REGISTERED.start + newcomer % (MANY_REGISTERED.end - MANY_REGISTERED.start);
        let manager = if self.random.random() { meeting } else { self.random.random_range(MANY_REGISTERED) };
        self.match_pair(manager, newcomer).await
    }

    fn newcomer(&self) -> Id {
        FIRST_NEWCOMER + self.world.newcomers.fetch_add(1, Ordering::Relaxed) / CALLS_PER_NEWCOMER
    }

    async fn unmatch(&mut self, manager: Id, customer: Id) -> anyhow::Result<bool> {
        let customers = &self.world.customers;
        let (Some(one), Some(other)) = (customers.reference(manager), customers.reference(customer)) else {
            return self.match_pair(manager, customer).await;
        };
        let body = json!({ "managerCuRefNo": one, "customerCuRefNo": other });
        self.post(UNMATCH, body.to_string(), Request::Unmatch { manager, customer }).await
    }

    /// Registers the customer, or asks for its reference.
    pub async fn create(&mut self, id: Id) -> anyhow::Result<bool> {
        let body = json!({ "email": self.world.customers.spelling(id, &mut self.random) });
        self.post(CREATE, body.to_string(), Request::Create { id }).await
    }

    /// A request that must be refused, with something in it that would be seen if it was not.
    async fn wrong(&mut self) -> anyhow::Result<bool> {
        const INVALID: &str = "INTERNAL_VALIDATION_FAILED";
        const NOT_FOUND: &str = "INTERNAL_RESOURCE_NOT_FOUND";
        self.count += 1;
        let outsider = FIRST_OUTSIDER + 1_000_000 * Id::try_from(self.number)? + self.count;
        let customers = &self.world.customers;
        let known = self.random.random_range(FEW_REGISTERED);
        let Some(reference) = customers.reference(known) else { return Ok(false) };
        let other = FEW_REGISTERED.sum::<Id>() - known;
        let other = customers.reference(other);
        let outside = customers.spelling(outsider, &mut self.random);
        let nobody = Alphanumeric.sample_string(&mut self.random, 16);
        let long = "ž".repeat(LONGEST_NOTICE + 1);
        let (what, status, code, outsider, body) = match self.random.random_range(0..10) {
            0 => {
                let bad = [
                    "nobody",
                    "a@localhost",
                    "a..b@c.co",
                    "a@b_c.co",
                    "<a@b.co>",
                    "a@b.co,c@d.co",
                    "\"a\"@b.co",
                ];
                let bad = bad.choose(&mut self.random);
                (
                    "no e-mail address",
                    422,
                    INVALID,
                    None,
                    json!({ "managerCuRefNo": reference, "customerEmail": bad }),
                )
            }
            1 => {
                let own = customers.email(FEW_REGISTERED.start + 1);
                let body =
                    json!({ "managerCuRefNo": reference, "customerCuRefNo": nobody, "customerEmail": own });
                ("an unknown customer, and the address of another", 404, NOT_FOUND, None, body)
            }
            2 => {
                let body = json!({ "managerCuRefNo": nobody, "customerEmail": outside });
                ("an unknown manager, and a new address", 404, NOT_FOUND, Some(outsider), body)
            }
            3 => {
                let body =
                    json!({ "managerCuRefNo": reference, "customerCuRefNo": reference, "notice": "myself" });
                ("a customer with itself", 422, INVALID, None, body)
            }
            4 => {
                let own = customers.spelling(known, &mut self.random);
                let body = json!({ "managerCuRefNo": reference, "customerEmail": own, "notice": "myself" });
                ("a customer with itself, by address", 422, INVALID, None, body)
            }
            5 => {
                let body = json!({ "managerCuRefNo": reference, "customerCuRefNo": other, "notice": long });
                ("too long a notice", 422, INVALID, None, body)
            }
            6 => {
                let body = json!({ "managerCuRefNo": reference, "customerEmail": outside, "notice": long });
                ("too long a notice, and a new address", 422, INVALID, Some(outsider), body)
            }
            7 => {
                let body = json!({ "managerCuRefNo": reference, "customerCuRefNo": other, "notice": "a\0b" });
                ("a NUL in the notice", 422, INVALID, None, body)
            }
            8 => {
                let body = json!({ "managerCuRefNo": &reference[1..], "customerEmail": outside });
                ("a reference of 15 characters, and a new address", 422, INVALID, Some(outsider), body)
            }
            _ => {
                let body = json!({ "managerCuRefNo": reference, "notice": "with nobody" });
                ("no customer", 422, INVALID, None, body)
            }
        };
        let wrong = Wrong { what, status, code, outsider };
        self.post(MATCH, body.to_string(), Request::Wrong { wrong }).await
    }

    async fn post(&mut self, path: &str, body: String, request: Request) -> anyhow::Result<bool> {
        let represent = matches!(request, Request::Match { represent: true, .. });
        let start = self.world.now();
        let reply = self.api.post(path, body, represent).await?;
        let end = self.world.now();
        let answer = self.understand(&request, reply);
        let served = is_served(&answer);
        self.calls.push(Call { client: self.number, start, end, request, answer });
        Ok(served)
    }

    /// What the reply says; what it must not say is not understood.
    fn understand(&self, request: &Request, reply: Reply) -> Answer {
        let (status, body) = match reply {
            Reply::Answer { status, body } => (status, body),
            Reply::NotSent => return Answer::NotSent,
            Reply::Lost => return Answer::Lost,
            Reply::Late => return Answer::Late,
        };
        let code = body["error"]["code"].as_str().unwrap_or_default();
        if (status, code) == (503, "INTERNAL_SERVICE_UNAVAILABLE") {
            return Answer::Unavailable;
        }
        let understood = match request {
            Request::Match { represent: false, .. } => {
                (status == 200 && body == json!({ "success": true })).then_some(Answer::Matched(None))
            }
            Request::Match { customer, .. } => (status == 200)
                .then(|| self.representation(&body))
                .flatten()
                .inspect(|_| {
                    if let Some(reference) = body["relation"]["customerCuRefNo"].as_str() {
                        self.world.customers.learn(*customer, reference);
                    }
                })
                .map(|representation| Answer::Matched(Some(representation))),
            Request::Unmatch { .. } if status == 404 && code == "INTERNAL_RESOURCE_NOT_FOUND" => {
                let description = body["error"]["description"].as_str().unwrap_or_default();
                description.starts_with("Relation of ").then_some(Answer::NeverMatched)
            }
            Request::Unmatch { .. } => {
                (status == 200 && body == json!({ "success": true })).then_some(Answer::Unmatched)
            }
            Request::Create { id } => (status == 200).then(|| self.created(*id, &body)).flatten(),
            Request::Wrong { wrong } => {
                (wrong.status == status && wrong.code == code).then_some(Answer::Refused)
            }
            // See `list`.
            Request::List { .. } => None,
        };
        understood.unwrap_or_else(|| Answer::Unexpected(format!("{status} {body}")))
    }

    fn representation(&self, body: &Value) -> Option<Representation> {
        let relation = &body["relation"];
        Some(Representation {
            change: match body["outcome"].as_str()? {
                "created" => Change::Created,
                "updated" => Change::Updated,
                "unchanged" => Change::Unchanged,
                "reactivated" => Change::Reactivated,
                _ => return None,
            },
            customer_created: body["customerCreated"].as_bool()?,
            manager: self.symbol(&relation["managerCuRefNo"])?,
            customer: self.symbol(&relation["customerCuRefNo"])?,
            email: self.symbol(&relation["customerEmail"])?,
            notice: self.optional_symbol(&relation["notice"])?,
            active: relation["active"].as_bool()?,
        })
    }

    fn created(&self, id: Id, body: &Value) -> Option<Answer> {
        let reference = body["cuRefNo"].as_str()?;
        self.world.customers.learn(id, reference);
        Some(Answer::Customer {
            created: body["created"].as_bool()?,
            reference: self.world.symbols.symbol(reference),
            email: self.symbol(&body["email"])?,
        })
    }

    /// The first page of a list, which is all of it unless it is very long.
    async fn list(&mut self, of: Id) -> anyhow::Result<bool> {
        self.read_list(of, PAGE, 1).await
    }

    /// All pages of a list, when nothing changes any more.
    pub async fn whole_list(&mut self, of: Id) -> anyhow::Result<bool> {
        self.read_list(of, LAST_PAGE, u32::MAX).await
    }

    async fn read_list(&mut self, of: Id, limit: &str, most_pages: u32) -> anyhow::Result<bool> {
        let Some(reference) = self.world.customers.reference(of) else { return Ok(false) };
        let start = self.world.now();
        let mut list = List::default();
        let mut cursor = String::new();
        let answer = loop {
            let mut parameters = vec![("cuRefNo", reference.as_str()), ("limit", limit)];
            if !cursor.is_empty() {
                parameters.push(("cursor", cursor.as_str()));
            }
            match self.api.get(LIST, &parameters).await? {
                Reply::Answer { status: 200, body } => {
                    let Some(next) = self.add_page(&mut list, &body) else {
                        break Answer::Unexpected(format!("200 {body}"));
                    };
                    list.complete = next.is_empty();
                    if list.complete || list.pages == most_pages {
                        break Answer::Listed(list);
                    }
                    cursor = next;
                }
                reply => break self.understand(&Request::List { of }, reply),
            }
        };
        let (end, request) = (self.world.now(), Request::List { of });
        let served = is_served(&answer);
        self.calls.push(Call { client: self.number, start, end, request, answer });
        Ok(served)
    }

    /// The next page's cursor, empty on the last one.
    fn add_page(&self, list: &mut List, body: &Value) -> Option<String> {
        for item in body["items"].as_array()? {
            let role = item["role"].as_str()?;
            list.items.push(Item {
                reference: self.symbol(&item["cuRefNo"])?,
                email: self.optional_symbol(&item["email"])?,
                notice: self.optional_symbol(&item["notice"])?,
                manages: ["manager", "both"].contains(&role),
                is_managed: ["customer", "both"].contains(&role),
                matched_at: self.symbol(&item["matchedAt"])?,
                updated_at: self.symbol(&item["updatedAt"])?,
            });
        }
        list.pages += 1;
        list.item_count = body["itemCount"].as_u64()?;
        match &body["nextCursor"] {
            Value::Null => Some(String::new()),
            cursor => cursor.as_str().map(str::to_owned),
        }
    }

    fn symbol(&self, value: &Value) -> Option<Symbol> {
        value.as_str().map(|text| self.world.symbols.symbol(text))
    }

    /// Of null as of an empty text.
    fn optional_symbol(&self, value: &Value) -> Option<Symbol> {
        if value.is_null() { Some(Symbol::default()) } else { self.symbol(value) }
    }
}

fn is_served(answer: &Answer) -> bool {
    !matches!(answer, Answer::Unavailable | Answer::Lost | Answer::NotSent | Answer::Late)
}
