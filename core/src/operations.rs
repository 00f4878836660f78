//! The typed operations on single keys and on many.

use std::time::Duration;

use bytes::Bytes;
use slotkv_proto::v1;

use crate::{
    Answer, CallOptions, Client, Command, Condition, Delete, Entry, IntoBytes, Put, PutOptions, Result,
    WriteOutcome, WriteToken,
    wire::{detach, unexpected},
};

const DEFAULT: CallOptions =
    CallOptions { deadline: None, namespace: None, traceparent: None, read_level: None, session: None };

/// Takes the answer apart that the operation has.
macro_rules! expect {
    ($answer:expr, $pattern:pat => $value:expr) => {
        match $answer {
            $pattern => Ok($value),
            // `wire::answer` gives an operation no other answer.
            _ => Err(unexpected(v1::Operation::Unspecified, &v1::Reply::default())),
        }
    };
}

impl Client {
    /// The value of a key; `None` if it is absent.
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Bytes>> {
        Ok(self.get_entry(key).await?.map(|entry| entry.value))
    }

    /// The value of a key with its version and what is left of its lifetime; `None` if it is absent.
    pub async fn get_entry(&self, key: impl IntoBytes) -> Result<Option<Entry>> {
        entry(self.call(Command::Get { key: key.into_bytes() }, &DEFAULT).await?)
    }

    /// Whether a key exists.
    pub async fn has(&self, key: impl IntoBytes) -> Result<bool> {
        let answer = self.call(Command::Has { key: key.into_bytes() }, &DEFAULT).await?;
        expect!(answer, Answer::Has(has) => has)
    }

    /// Stores a value. The key then lives for ever; [`Client::put_with`] gives it a lifetime.
    pub async fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Put> {
        self.put_if(key, value, Condition::Always).await
    }

    /// Stores a value if the key is absent; else the answer is [`Put::Unmet`].
    pub async fn put_if_absent(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Put> {
        self.put_if(key, value, Condition::Absent).await
    }

    /// Stores a value if the key exists; else the answer is [`Put::Unmet`].
    pub async fn update_if_present(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Put> {
        self.put_if(key, value, Condition::Present).await
    }

    /// Stores a value if the key exists in `version`; else the answer is [`Put::Unmet`] with the version that it has.
    pub async fn compare_and_set(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        version: u64,
    ) -> Result<Put> {
        self.put_if(key, value, Condition::Version(version)).await
    }

    /// Stores a value under a condition, for a lifetime; if the condition does not hold, the answer is [`Put::Unmet`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use slotkv::{Client, Condition, PutOptions};
    /// # async fn example(client: Client) -> slotkv::Result<()> {
    /// client.put_with("session:1", "Ada", PutOptions::ttl(Duration::from_secs(1800))).await?;
    /// let minute = PutOptions { condition: Condition::Absent, ttl: Some(Duration::from_secs(60)) };
    /// let is_mine = client.put_with("turn", "worker-7", minute).await?.done();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_with(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        options: PutOptions,
    ) -> Result<Put> {
        put(self.call(put_command(key, value, options), &DEFAULT).await?)
    }

    async fn put_if(&self, key: impl IntoBytes, value: impl IntoBytes, condition: Condition) -> Result<Put> {
        self.put_with(key, value, PutOptions { condition, ttl: None }).await
    }

    /// Gives a key that exists a new lifetime, from now on; its value stays, its version grows. If there is no such key, the
    /// answer is [`Put::Unmet`].
    pub async fn expire(&self, key: impl IntoBytes, ttl: Duration) -> Result<Put> {
        put(self.call(Command::Expire { key: key.into_bytes(), ttl: Some(ttl) }, &DEFAULT).await?)
    }

    /// Lets a key that exists live for ever; its value stays, its version grows. If there is no such key, the answer is
    /// [`Put::Unmet`].
    pub async fn persist(&self, key: impl IntoBytes) -> Result<Put> {
        put(self.call(Command::Expire { key: key.into_bytes(), ttl: None }, &DEFAULT).await?)
    }

    /// Removes a key.
    pub async fn delete(&self, key: impl IntoBytes) -> Result<Delete> {
        self.delete_if(key, Condition::Always).await
    }

    /// Removes a key if it exists in `version`; else the answer is [`Delete::Unmet`] with the version that it has.
    pub async fn delete_if_version(&self, key: impl IntoBytes, version: u64) -> Result<Delete> {
        self.delete_if(key, Condition::Version(version)).await
    }

    async fn delete_if(&self, key: impl IntoBytes, condition: Condition) -> Result<Delete> {
        delete(self.call(Command::Delete { key: key.into_bytes(), condition }, &DEFAULT).await?)
    }

    /// Adds to a decimal number of 64 bits; the sum. An absent key counts as 0. A lifetime stays as it is.
    ///
    /// Errors: `NOT_A_NUMBER`, `OVERFLOW`; the value is then as it was.
    pub async fn increment(&self, key: impl IntoBytes, delta: i64) -> Result<i64> {
        let answer = self.call(Command::Increment { key: key.into_bytes(), delta }, &DEFAULT).await?;
        expect!(answer, Answer::Number(number) => number)
    }

    /// What came of a write whose outcome is unknown ([`Outcome::Unknown`](crate::Outcome::Unknown)): its result if it was applied;
    /// else it is settled now that it never will be. Asking again gives the same answer, also another client. Results are kept
    /// for this for 60 s after the call has ended; later the answer may be
    /// [`WriteStatus::Forgotten`](crate::WriteStatus::Forgotten).
    pub async fn outcome(&self, token: &WriteToken) -> Result<WriteOutcome> {
        let answer = self.call(Command::Outcome { token: token.bytes().clone() }, &DEFAULT).await?;
        expect!(answer, Answer::Outcome(outcome) => outcome)
    }

    /// The values of many keys, in their order, each with its own result.
    pub async fn get_many<K: IntoBytes>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Bytes>>> {
        let commands = keys.into_iter().map(|key| Command::Get { key: key.into_bytes() });
        self.many(commands, self.traceparent(), |answer| Ok(entry(answer)?.map(|entry| entry.value))).await
    }

    /// Stores many values, each with its own result, in their order. Nothing is atomic about it: some may be stored and
    /// others not; and of two values for the same key either may be the last.
    pub async fn put_many<K: IntoBytes, V: IntoBytes>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<Put>> {
        self.put_many_with(pairs, PutOptions::default()).await
    }

    /// The same under a condition for each key, and for a lifetime.
    pub async fn put_many_with<K: IntoBytes, V: IntoBytes>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
        options: PutOptions,
    ) -> Vec<Result<Put>> {
        let commands = pairs.into_iter().map(|(key, value)| put_command(key, value, options));
        self.many(commands, self.traceparent(), put).await
    }

    /// Removes many keys, each with its own result, in their order. Nothing is atomic about it.
    pub async fn delete_many<K: IntoBytes>(&self, keys: impl IntoIterator<Item = K>) -> Vec<Result<Delete>> {
        let condition = Condition::Always;
        let commands = keys.into_iter().map(|key| Command::Delete { key: key.into_bytes(), condition });
        self.many(commands, self.traceparent(), delete).await
    }
}

fn entry(answer: Answer) -> Result<Option<Entry>> {
    let detached = |entry: Entry| Entry { value: detach(entry.value), ..entry };
    expect!(answer, Answer::Entry(entry) => entry.map(detached))
}

fn put_command(key: impl IntoBytes, value: impl IntoBytes, options: PutOptions) -> Command {
    let PutOptions { condition, ttl } = options;
    Command::Put { key: key.into_bytes(), value: value.into_bytes(), condition, ttl }
}

fn put(answer: Answer) -> Result<Put> {
    expect!(answer, Answer::Put(put) => put)
}

fn delete(answer: Answer) -> Result<Delete> {
    expect!(answer, Answer::Delete(delete) => delete)
}
