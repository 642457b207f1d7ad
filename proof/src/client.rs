//! A client: makes one random call after the other and records each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use rand::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, CREATE, DETAIL, LIST, LOGOUT, MAGIC_AUTH, MATCH, Reply, UNMATCH};
use crate::call::{Answer, Call, Invalid, Item, List, Representation, Request, Seen};
use crate::customers::{FEW, FEW_REGISTERED, FIRST_OUTSIDER, Id, MANY, MANY_REGISTERED, organisation};
use crate::interner::Symbol;
use crate::locks::Locked;
use crate::model::{Change, Shown, State};
use crate::world::World;

/// After a call that was not served.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two calls about locked rows, which are not to take the processor from the others.
const VISITOR_PAUSE: Duration = Duration::from_millis(50);
/// Draws until a call does not concern a locked row.
const MAX_DRAWS: usize = 50;
/// Contract §1.
const MAX_NOTICE: usize = 10_000;
/// The longest page.
const PAGE: &str = "500";
/// Several pages for most lists.
const SHORT_PAGE: &str = "25";

pub struct Client {
    world: Arc<World>,
    server: usize,
    number: usize,
    random: StdRng,
    calls: Vec<Call>,
    /// The relations that answers showed last, by the two customers in their order.
    seen: HashMap<[Id; 2], Seen>,
    /// Makes notices unique.
    count: u32,
}

/// A call to be made.
struct Plan {
    path: &'static str,
    body: Value,
    request: Request,
}

impl Client {
    /// Each client calls one server.
    pub fn new(world: Arc<World>, number: usize, seed: u64) -> Self {
        let server = number % world.servers.len();
        let random = StdRng::seed_from_u64(seed.wrapping_add(u64::try_from(number).unwrap_or_default()));
        Self { world, server, number, random, calls: Vec::new(), seen: HashMap::new(), count: 0 }
    }

    pub fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    /// Calls about what is not locked, until `stop` and the end of the call in flight.
    pub async fn wander(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            if !self.random_call().await? {
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        Ok(())
    }

    /// Calls about what is locked, while something is.
    pub async fn visit(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            if let Some(locked) = self.world.locks.held().choose(&mut self.random) {
                self.call_about(*locked).await?;
            }
            stop.run_until_cancelled(tokio::time::sleep(VISITOR_PAUSE)).await;
        }
        Ok(())
    }

    /// False if it was not served.
    async fn random_call(&mut self) -> anyhow::Result<bool> {
        let held = self.world.locks.held();
        for _ in 0..MAX_DRAWS {
            if let Some(plan) = self.draw()
                && !held.iter().any(|locked| locked.concerns(&plan.request))
                && let Some(served) = self.execute_unless_crowded(plan).await?
            {
                return Ok(served);
            }
        }
        self.list(FEW_REGISTERED.start, PAGE, 1).await
    }

    fn draw(&mut self) -> Option<Plan> {
        let plan = match self.random.random_range(0..100) {
            0..38 => {
                let (manager, customer) = self.pair();
                self.matching(manager, customer)
            }
            38..53 => {
                let (manager, customer) = self.pair();
                self.unmatching(manager, customer)
            }
            53..70 => {
                let id = self.one(0.9);
                let of = if self.world.customers.reference(id).is_some() { id } else { FEW_REGISTERED.start };
                Some(Plan { path: LIST, body: Value::Null, request: Request::List { of } })
            }
            70..75 => {
                let id = if self.random.random() { self.world.newcomer() } else { self.one(0.5) };
                Some(self.creating(id))
            }
            75..86 => self.matching_newcomer(),
            86..88 => {
                let id = if self.random.random_bool(0.3) { self.world.newcomer() } else { self.one(0.0) };
                Some(self.logging_in(id))
            }
            88..92 => {
                let (id, identity) = self.world.identity(self.random.random_range(0..1000))?;
                Some(Plan { path: DETAIL, body: Value::Null, request: Request::Detail { id, identity } })
            }
            92..94 => {
                let (id, identity) = self.world.identity(self.random.random_range(0..1000))?;
                let body = json!({ "identityId": self.world.interner.text(identity) });
                Some(Plan { path: LOGOUT, body, request: Request::LogOut { id, identity } })
            }
            _ => self.invalid(),
        };
        plan.map(|plan| self.with_condition(plan))
    }

    /// Some matches are on condition of the version that the client has seen last, others are to create only.
    fn with_condition(&mut self, mut plan: Plan) -> Plan {
        if let Request::Match { manager, customer, condition, .. } = &mut plan.request {
            *condition = match self.random.random_range(0..10) {
                0 => Some(Seen::default()),
                1..5 => self.seen.get(&in_order(*manager, *customer)).copied(),
                _ => None,
            };
        }
        plan
    }

    async fn call_about(&mut self, locked: Locked) -> anyhow::Result<()> {
        let draw = self.random.random_range(0..100);
        let plan = match locked {
            Locked::Relation(one, other) if draw < 50 => self.matching(one, other),
            Locked::Relation(one, other) if draw < 75 => self.matching(other, one),
            Locked::Relation(one, other) => self.unmatching(one, other),
            Locked::Customer(id) if draw < 70 => {
                let partner = self.random.random_range(MANY_REGISTERED);
                if partner == id { None } else { self.matching(partner, id) }
            }
            Locked::Customer(id) if draw < 90 => Some(self.creating(id)),
            Locked::Customer(id) => Some(self.logging_in(id)),
            Locked::Organisation(_) => self.matching_newcomer(),
        };
        if let Some(plan) = plan {
            let plan = self.with_condition(plan);
            self.execute_unless_crowded(plan).await?;
        }
        Ok(())
    }

    /// `few`: the probability of one of the few.
    fn one(&mut self, few: f64) -> Id {
        let range = if self.random.random_bool(few) { FEW } else { MANY };
        self.random.random_range(range)
    }

    /// Two of the few, two of the many or two neighbours, in either direction.
    fn pair(&mut self) -> (Id, Id) {
        if self.random.random_bool(0.05)
            && let Some([one, other]) = self.world.neighbours().choose(&mut self.random)
        {
            return if self.random.random() { (one, other) } else { (other, one) };
        }
        let range = if self.random.random_bool(0.6) { FEW } else { MANY };
        let one = self.random.random_range(range.clone());
        loop {
            let other = self.random.random_range(range.clone());
            if other != one {
                return (one, other);
            }
        }
    }

    /// A unique text, one of a few, the empty one or none; and a spelling of it.
    fn notice(&mut self) -> Option<(Symbol, String)> {
        self.count += 1;
        let normal = match self.random.random_range(0..100) {
            0..35 => return None,
            35..50 => String::new(),
            50..65 => format!("one of three: {}", self.random.random_range(0..3)),
            65..99 => format!("{}.{} comes\ntwice a week", self.number, self.count),
            _ => {
                let mut long = format!("{}.{} long ", self.number, self.count);
                long.extend(std::iter::repeat_n('ž', MAX_NOTICE - long.len()));
                long
            }
        };
        let text = match self.random.random_range(0..3) {
            0 => normal.clone(),
            1 => format!(" {}\r\n\t", normal.replace('\n', "\r\n")),
            _ => format!("\n\u{3000}{}", normal.replace('\n', "\r")),
        };
        Some((self.world.interner.symbol(&normal), text))
    }

    fn matching(&mut self, manager: Id, customer: Id) -> Option<Plan> {
        let customers = &self.world.customers;
        let (manager, customer, reference) =
            match (customers.reference(manager), customers.reference(customer)) {
                (Some(reference), _) => (manager, customer, reference),
                (None, Some(reference)) => (customer, manager, reference),
                // A customer that is known takes the place of the manager.
                (None, None) => {
                    let known = if FEW.contains(&manager) { FEW_REGISTERED } else { MANY_REGISTERED };
                    let known = self.random.random_range(known);
                    (known, customer, customers.reference(known)?)
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
        Some(Plan {
            path: MATCH,
            body,
            request: Request::Match { manager, customer, by_email, notice, condition: None, represent },
        })
    }

    /// Other clients match the same newcomer at the same moment, with the same one of the many or another.
    fn matching_newcomer(&mut self) -> Option<Plan> {
        let newcomer = self.world.newcomer();
        let meeting = MANY_REGISTERED.start + newcomer % (MANY_REGISTERED.end - MANY_REGISTERED.start);
        let manager = if self.random.random() { meeting } else { self.random.random_range(MANY_REGISTERED) };
        self.matching(manager, newcomer)
    }

    fn unmatching(&mut self, manager: Id, customer: Id) -> Option<Plan> {
        let customers = &self.world.customers;
        let (Some(one), Some(other)) = (customers.reference(manager), customers.reference(customer)) else {
            return self.matching(manager, customer);
        };
        let body = json!({ "managerCuRefNo": one, "customerCuRefNo": other });
        Some(Plan { path: UNMATCH, body, request: Request::Unmatch { manager, customer } })
    }

    fn creating(&mut self, id: Id) -> Plan {
        let body = json!({ "email": self.world.customers.spelling(id, &mut self.random) });
        Plan { path: CREATE, body, request: Request::Create { id } }
    }

    fn logging_in(&mut self, id: Id) -> Plan {
        let body = json!({ "email": self.world.customers.spelling(id, &mut self.random) });
        Plan { path: MAGIC_AUTH, body, request: Request::LogIn { id } }
    }

    /// A request that must be rejected, with something in it that would show if it was not.
    fn invalid(&mut self) -> Option<Plan> {
        const INVALID: &str = "INTERNAL_VALIDATION_FAILED";
        const NOT_FOUND: &str = "INTERNAL_RESOURCE_NOT_FOUND";
        self.count += 1;
        let outsider = FIRST_OUTSIDER + 1_000_000 * Id::try_from(self.number).ok()? + self.count;
        let customers = &self.world.customers;
        let known = self.random.random_range(FEW_REGISTERED);
        let reference = customers.reference(known)?;
        let other = customers.reference(FEW_REGISTERED.sum::<Id>() - known);
        let outside = customers.spelling(outsider, &mut self.random);
        let unknown = Alphanumeric.sample_string(&mut self.random, 16);
        let long = "ž".repeat(MAX_NOTICE + 1);
        let manager = &reference;
        let (what, status, code, outsider, body) = match self.random.random_range(0..10) {
            0 => {
                let invalid = [
                    "nobody",
                    "a@localhost",
                    "a..b@c.co",
                    "a@b_c.co",
                    "<a@b.co>",
                    "a@b.co,c@d.co",
                    "\"a\"@b.co",
                ];
                let body =
                    json!({ "managerCuRefNo": manager, "customerEmail": invalid.choose(&mut self.random) });
                ("an invalid e-mail address", 422, INVALID, None, body)
            }
            1 => {
                let email = customers.email(FEW_REGISTERED.start + 1);
                let body =
                    json!({ "managerCuRefNo": manager, "customerCuRefNo": unknown, "customerEmail": email });
                ("an unknown customer and a known e-mail address", 404, NOT_FOUND, None, body)
            }
            2 => {
                let body = json!({ "managerCuRefNo": unknown, "customerEmail": outside });
                ("an unknown manager and a new e-mail address", 404, NOT_FOUND, Some(outsider), body)
            }
            3 => {
                let body =
                    json!({ "managerCuRefNo": manager, "customerCuRefNo": manager, "notice": "myself" });
                ("a customer with itself", 422, INVALID, None, body)
            }
            4 => {
                let own = customers.spelling(known, &mut self.random);
                let body = json!({ "managerCuRefNo": manager, "customerEmail": own, "notice": "myself" });
                ("a customer with itself, by e-mail address", 422, INVALID, None, body)
            }
            5 => {
                let body = json!({ "managerCuRefNo": manager, "customerCuRefNo": other, "notice": long });
                ("too long a notice", 422, INVALID, None, body)
            }
            6 => {
                let body = json!({ "managerCuRefNo": manager, "customerEmail": outside, "notice": long });
                ("too long a notice and a new e-mail address", 422, INVALID, Some(outsider), body)
            }
            7 => {
                let body = json!({ "managerCuRefNo": manager, "customerCuRefNo": other, "notice": "a\0b" });
                ("a NUL in the notice", 422, INVALID, None, body)
            }
            8 => {
                let body = json!({ "managerCuRefNo": &manager[1..], "customerEmail": outside });
                ("a reference of 15 characters and a new e-mail address", 422, INVALID, Some(outsider), body)
            }
            _ => {
                let body = json!({ "managerCuRefNo": manager, "notice": "without a customer" });
                ("no customer", 422, INVALID, None, body)
            }
        };
        let request = Request::Invalid(Invalid { what, status, code, outsider });
        Some(Plan { path: MATCH, body, request })
    }

    /// False if it was not served.
    pub async fn match_newcomer(&mut self) -> anyhow::Result<bool> {
        let Some(plan) = self.matching_newcomer() else { return Ok(false) };
        self.execute(plan).await
    }

    /// Registers the customer, or asks for its reference. False if it was not served.
    pub async fn create(&mut self, id: Id) -> anyhow::Result<bool> {
        let plan = self.creating(id);
        self.execute(plan).await
    }

    /// Makes the relation of two customers exist. False if it was not served.
    pub async fn match_pair(&mut self, manager: Id, customer: Id) -> anyhow::Result<bool> {
        let Some(plan) = self.matching(manager, customer) else { return Ok(false) };
        self.execute(plan).await
    }

    /// Reads all pages of a list.
    pub async fn whole_list(&mut self, of: Id) -> anyhow::Result<bool> {
        self.list(of, SHORT_PAGE, u32::MAX).await
    }

    /// `None`: too many calls about the pair are in flight.
    async fn execute_unless_crowded(&mut self, plan: Plan) -> anyhow::Result<Option<bool>> {
        let mut ids = plan.request.customers();
        let (Some(one), Some(other)) = (ids.next(), ids.next()) else {
            return Ok(Some(self.execute(plan).await?));
        };
        if !self.world.enter(one, other) {
            return Ok(None);
        }
        let served = self.execute(plan).await;
        self.world.leave(one, other);
        Ok(Some(served?))
    }

    async fn execute(&mut self, plan: Plan) -> anyhow::Result<bool> {
        let request = plan.request;
        if let Request::List { of } = request {
            return self.list(of, PAGE, 1).await;
        }
        let api = self.api(request.customers().next().unwrap_or_default()).clone();
        let start = self.world.now();
        let reply = if let Request::Detail { identity, .. } = request {
            api.get(plan.path, &[("identityId", &self.world.interner.text(identity))]).await?
        } else {
            api.post(plan.path, plan.body.to_string(), &headers(&request)).await?
        };
        let end = self.world.now();
        if let (Request::Match { manager, customer, .. }, Reply::Answer { body, .. }) = (&request, &reply)
            && let Some(seen) = self.seen(*manager, *customer, &body["relation"])
        {
            self.seen.insert(in_order(*manager, *customer), seen);
        }
        let answer = self.understand(&request, reply);
        if let (Request::LogIn { id }, Answer::LoggedIn { identity }) = (&request, &answer) {
            self.world.add_identity(*id, *identity);
        }
        Ok(self.record(Call { client: self.number, start, end, request, answer }))
    }

    fn record(&mut self, call: Call) -> bool {
        let served = call.answer.is_served();
        if call.answer.is_acknowledged() {
            self.world.count_acknowledged();
        }
        self.calls.push(call);
        served
    }

    /// With the key of the customer's organisation.
    fn api(&self, id: Id) -> &Api {
        let organisations = &self.world.servers[self.server];
        organisations.get(organisation(id)).unwrap_or(&organisations[0])
    }

    fn understand(&self, request: &Request, reply: Reply) -> Answer {
        let (status, body) = match reply {
            Reply::Answer { status, body } => (status, body),
            Reply::NotSent => return Answer::NotSent,
            Reply::Lost => return Answer::Lost,
            Reply::TimedOut => return Answer::TimedOut,
        };
        let code = body["error"]["code"].as_str().unwrap_or_default();
        let success = status == 200 && body == json!({ "success": true });
        let understood = match (request, status, code) {
            (_, 503, "INTERNAL_SERVICE_UNAVAILABLE") => Some(Answer::Unavailable),
            (
                Request::Match { manager, customer, condition: Some(condition), .. },
                412,
                "INTERNAL_PRECONDITION_FAILED",
            ) => {
                let relation = &body["relation"];
                let shown = if relation.is_null() {
                    Some(Seen::default())
                } else {
                    self.seen(*manager, *customer, relation)
                };
                // The version that the call named would have met its condition.
                shown.filter(|shown| shown.version != condition.version).map(Answer::Conflict)
            }
            (Request::Match { represent: false, .. }, ..) => success.then_some(Answer::Matched(None)),
            (Request::Match { customer, .. }, 200, _) => {
                if let Some(reference) = body["relation"]["customerCuRefNo"].as_str() {
                    self.world.customers.learn(*customer, reference);
                }
                self.representation(&body).map(|representation| Answer::Matched(Some(representation)))
            }
            (Request::Unmatch { .. }, 404, "INTERNAL_RESOURCE_NOT_FOUND") => {
                let description = body["error"]["description"].as_str().unwrap_or_default();
                description.starts_with("Relation of ").then_some(Answer::NeverMatched)
            }
            (Request::Unmatch { .. }, ..) => success.then_some(Answer::Unmatched),
            (Request::Create { id }, 200, _) => self.created(*id, &body),
            (Request::LogIn { .. }, 200, _) => {
                self.symbol(&body["identityId"]).map(|identity| Answer::LoggedIn { identity })
            }
            (Request::Detail { .. }, 200, _) => {
                self.symbol(&body["cuRefNo"]).map(|reference| Answer::Detailed { reference })
            }
            (Request::Detail { .. } | Request::LogOut { .. }, 401, "INTERNAL_USER_MUST_BE_AUTHORIZED") => {
                Some(Answer::NotLoggedIn)
            }
            (Request::LogOut { .. }, ..) => success.then_some(Answer::LoggedOut),
            (Request::Invalid(invalid), ..) => {
                (invalid.status == status && invalid.code == code).then_some(Answer::Rejected)
            }
            _ => None,
        };
        understood.unwrap_or_else(|| Answer::Unexpected(format!("{status} {body}")))
    }

    /// `None` if it is no relation.
    fn seen(&self, manager: Id, customer: Id, relation: &Value) -> Option<Seen> {
        let [first, other] = match relation["role"].as_str()? {
            "customer" => [true, false],
            "manager" => [false, true],
            "both" => [true, true],
            _ => return None,
        };
        let managers = if manager < customer { [first, other] } else { [other, first] };
        let notice = self.optional_symbol(&relation["notice"])?;
        let state = State::shown(relation["active"].as_bool()?, managers, notice);
        Some(Seen { version: Some(relation["version"].as_u64()?), state })
    }

    fn representation(&self, body: &Value) -> Option<Representation> {
        let relation = &body["relation"];
        let change = match body["outcome"].as_str()? {
            "created" => Change::Created,
            "updated" => Change::Updated,
            "unchanged" => Change::Unchanged,
            "reactivated" => Change::Reactivated,
            _ => return None,
        };
        let active = relation["active"].as_bool()?;
        Some(Representation {
            shown: Shown { change, active, notice: self.optional_symbol(&relation["notice"])? },
            customer_created: body["customerCreated"].as_bool()?,
            manager: self.symbol(&relation["managerCuRefNo"])?,
            customer: self.symbol(&relation["customerCuRefNo"])?,
            email: self.symbol(&relation["customerEmail"])?,
        })
    }

    fn created(&self, id: Id, body: &Value) -> Option<Answer> {
        let reference = body["cuRefNo"].as_str()?;
        self.world.customers.learn(id, reference);
        Some(Answer::Customer {
            created: body["created"].as_bool()?,
            reference: self.world.interner.symbol(reference),
            email: self.symbol(&body["email"])?,
        })
    }

    async fn list(&mut self, of: Id, limit: &str, max_pages: u32) -> anyhow::Result<bool> {
        let Some(reference) = self.world.customers.reference(of) else { return Ok(false) };
        let api = self.api(of).clone();
        let start = self.world.now();
        let mut list = List::default();
        let mut cursor = String::new();
        let answer = loop {
            let mut parameters = vec![("cuRefNo", reference.as_str()), ("limit", limit)];
            if !cursor.is_empty() {
                parameters.push(("cursor", cursor.as_str()));
            }
            match api.get(LIST, &parameters).await? {
                Reply::Answer { status: 200, body } => {
                    let Some(next) = self.add_page(&mut list, &body) else {
                        break Answer::Unexpected(format!("200 {body}"));
                    };
                    list.complete = next.is_empty();
                    if list.complete || list.pages == max_pages {
                        break Answer::Listed(list);
                    }
                    cursor = next;
                }
                reply => break self.understand(&Request::List { of }, reply),
            }
        };
        let (end, request) = (self.world.now(), Request::List { of });
        Ok(self.record(Call { client: self.number, start, end, request, answer }))
    }

    /// Returns the next cursor, empty on the last page.
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
        value.as_str().map(|text| self.world.interner.symbol(text))
    }

    /// Null is the empty string.
    fn optional_symbol(&self, value: &Value) -> Option<Symbol> {
        if value.is_null() { Some(Symbol::default()) } else { self.symbol(value) }
    }
}

fn in_order(one: Id, other: Id) -> [Id; 2] {
    [one.min(other), one.max(other)]
}

fn headers(request: &Request) -> Vec<(&'static str, String)> {
    let Request::Match { condition, represent, .. } = request else { return Vec::new() };
    let condition = condition.map(|seen| match seen.version {
        Some(version) => ("if-match", format!("\"{version}\"")),
        None => ("if-none-match", "*".to_owned()),
    });
    let prefer = represent.then(|| ("prefer", "return=representation".to_owned()));
    condition.into_iter().chain(prefer).collect()
}
