//! The client, as `lib/client.js` calls it. Each function that takes a number begins a call of that number.

use bytes::Bytes;
use napi::Result;
use napi::bindgen_prelude::{BigInt, Buffer, Either};
use napi_derive::napi;
use slotkv_facade::core::{Command, Condition};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;
use slotkv_facade::nonblocking::AsyncClient;

use crate::arguments::{Payload, Range, call_options, condition, read_level, time};
use crate::bridge::{Begun, Bridge, Waiting};
use crate::errors::Failure;
use crate::scan::Scan;
use crate::view::{Explain, Stats};

/// A client or a view of one.
#[napi]
pub struct Client {
    bridge: Bridge,
    client: AsyncClient,
}

impl Client {
    pub fn new(bridge: Bridge, client: AsyncClient) -> Self {
        Self { bridge, client }
    }

    fn call(&self, call: u32, command: Command, deadline_ms: f64) -> Begun {
        self.bridge.submit(call, |port, waiting| {
            self.client.submit(port, command, call_options(deadline_ms), waiting)
        })
    }

    fn view(&self, client: AsyncClient) -> Self {
        Self { bridge: self.bridge.clone(), client }
    }
}

#[napi]
impl Client {
    #[napi]
    pub fn get(&self, call: u32, Payload(key): Payload, deadline_ms: f64) -> Begun {
        self.call(call, Command::Get { key }, deadline_ms)
    }

    #[napi]
    pub fn has(&self, call: u32, Payload(key): Payload, deadline_ms: f64) -> Begun {
        self.call(call, Command::Has { key }, deadline_ms)
    }

    // The options of the call, one by one, as the language has them.
    #[allow(clippy::too_many_arguments)]
    #[napi]
    pub fn put(
        &self,
        call: u32,
        Payload(key): Payload,
        Payload(value): Payload,
        deadline_ms: f64,
        ttl_ms: f64,
        condition_number: u32,
        version: Option<BigInt>,
    ) -> Result<Begun> {
        let condition = condition(condition_number, unsigned(version))?;
        Ok(self.call(call, Command::Put { key, value, condition, ttl: time(ttl_ms) }, deadline_ms))
    }

    /// 0 lets the key live for ever.
    #[napi]
    pub fn expire(&self, call: u32, Payload(key): Payload, deadline_ms: f64, ttl_ms: f64) -> Begun {
        self.call(call, Command::Expire { key, ttl: time(ttl_ms) }, deadline_ms)
    }

    #[napi]
    pub fn delete(
        &self,
        call: u32,
        Payload(key): Payload,
        deadline_ms: f64,
        condition_number: u32,
        version: Option<BigInt>,
    ) -> Result<Begun> {
        let condition = condition(condition_number, unsigned(version))?;
        Ok(self.call(call, Command::Delete { key, condition }, deadline_ms))
    }

    #[napi]
    pub fn increment(&self, call: u32, Payload(key): Payload, delta: BigInt, deadline_ms: f64) -> Begun {
        let (delta, _) = delta.get_i64();
        self.call(call, Command::Increment { key, delta }, deadline_ms)
    }

    #[napi]
    pub fn outcome(&self, call: u32, Payload(token): Payload, deadline_ms: f64) -> Begun {
        self.call(call, Command::Outcome { token }, deadline_ms)
    }

    #[napi]
    pub fn get_many(&self, call: u32, keys: Vec<Payload>, deadline_ms: f64) -> Begun {
        self.many(call, keys, deadline_ms, |key| Command::Get { key })
    }

    /// `pairs` has keys and values in turn.
    #[napi]
    pub fn put_many(&self, call: u32, pairs: Vec<Payload>, deadline_ms: f64, ttl_ms: f64) -> Begun {
        let mut pairs = pairs.into_iter().map(|Payload(bytes)| bytes);
        let commands = std::iter::from_fn(|| {
            let (key, value) = (pairs.next()?, pairs.next()?);
            Some(Command::Put { key, value, condition: Condition::Always, ttl: time(ttl_ms) })
        });
        let commands = commands.collect();
        self.call(call, Command::Many { commands }, deadline_ms)
    }

    #[napi]
    pub fn delete_many(&self, call: u32, keys: Vec<Payload>, deadline_ms: f64) -> Begun {
        self.many(call, keys, deadline_ms, |key| Command::Delete { key, condition: Condition::Always })
    }

    #[napi]
    pub fn count(&self, call: u32, range: Range, deadline_ms: f64) -> Begun {
        self.call(call, Command::Count { range: range.into() }, deadline_ms)
    }

    #[napi]
    pub fn dump(&self, call: u32, range: Range, deadline_ms: f64) -> Begun {
        self.bridge.begin(Waiting { call, turn: None }, |port, waiting| {
            self.client.dump(port, range.into(), call_options(deadline_ms), waiting)
        })
    }

    #[napi]
    pub fn status(&self, call: u32) -> Begun {
        self.bridge.begin(Waiting { call, turn: None }, |port, waiting| self.client.status(port, waiting))
    }

    #[napi]
    pub fn close(&self, call: u32) -> Begun {
        self.bridge.begin(Waiting { call, turn: None }, |port, waiting| self.client.close(port, waiting))
    }

    #[napi]
    pub fn scan(
        &self,
        range: Range,
        cursor: Option<Payload>,
        limit: Option<f64>,
        deadline_ms: f64,
    ) -> Either<Scan, Failure> {
        let scan = guard(|| {
            let cursor = cursor.map(|Payload(cursor)| cursor);
            let limit = limit.map(|limit| limit as u64);
            Ok(self.client.scan(range.into(), cursor, limit, call_options(deadline_ms)))
        });
        either(scan.map(|scan| Scan::new(self.bridge.clone(), scan)))
    }

    #[napi]
    pub fn slot(&self, Payload(key): Payload) -> Either<u16, Failure> {
        either(guard(|| Ok(self.client.core()?.slot(&key))))
    }

    #[napi]
    pub fn explain(&self, Payload(key): Payload) -> Either<Explain, Failure> {
        either(guard(|| Ok(self.client.core()?.explain(&key).into())))
    }

    #[napi]
    pub fn stats(&self) -> Either<Stats, Failure> {
        either(guard(|| Ok(self.client.core()?.stats().into())))
    }

    #[napi]
    pub fn namespace(&self, name: String) -> Either<Client, Failure> {
        either(guard(|| Ok(self.view(self.client.namespace(&name)?))))
    }

    #[napi]
    pub fn with_deadline(&self, deadline_ms: f64) -> Either<Client, Failure> {
        either(guard(|| {
            let deadline = call_options(deadline_ms).deadline;
            Ok(self
                .view(deadline.map_or_else(|| self.client.clone(), |time| self.client.with_deadline(time))))
        }))
    }

    #[napi]
    pub fn with_traceparent(&self, traceparent: String) -> Either<Client, Failure> {
        either(guard(|| Ok(self.view(self.client.with_traceparent(traceparent)))))
    }

    #[napi]
    pub fn with_read_level(&self, number: u32, staleness_ms: f64) -> Result<Either<Client, Failure>> {
        let level = read_level(number, staleness_ms)?;
        Ok(either(guard(|| Ok(self.view(self.client.with_read_level(level))))))
    }

    #[napi]
    pub fn session_token(&self) -> Either<Buffer, Failure> {
        either(guard(|| Ok(self.client.session_token()?.to_vec().into())))
    }

    #[napi]
    pub fn with_session_token(&self, Payload(token): Payload) -> Either<Client, Failure> {
        either(guard(|| Ok(self.view(self.client.with_session_token(&token)?))))
    }
}

impl Client {
    fn many(
        &self,
        call: u32,
        keys: Vec<Payload>,
        deadline_ms: f64,
        command: impl Fn(Bytes) -> Command,
    ) -> Begun {
        let commands = keys.into_iter().map(|Payload(key)| command(key)).collect();
        self.call(call, Command::Many { commands }, deadline_ms)
    }
}

fn unsigned(number: Option<BigInt>) -> u64 {
    number.map_or(0, |number| number.get_u64().1)
}

fn either<T>(result: std::result::Result<T, FacadeError>) -> Either<T, Failure> {
    match result {
        Ok(value) => Either::A(value),
        Err(error) => Either::B(error.into()),
    }
}
