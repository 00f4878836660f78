//! Calls to one member, by its address.

use std::time::Duration;

use slotkv::{Client, Error, Outcome};
use slotkv_proto::{
    Code,
    code::{Applied, code_of},
    handshake, v1,
};
use tokio::time::timeout;
use tonic::{Response, Status, transport::Channel};

/// Longest time that connecting and an answer may take; a master's own bound for what it writes down is 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(12);

/// Asks the member at `address`. Its refusal is an error with its code and its text.
pub(crate) async fn at<T>(
    client: &Client,
    address: &str,
    ask: impl AsyncFn(Channel, v1::Hello) -> Result<Response<T>, Status>,
) -> Result<T, Error> {
    match timeout(ANSWER_MAX, unbounded(client, address, ask)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(Code::Timeout, format!("no answer of {address} in {ANSWER_MAX:?}"))),
    }
}

async fn unbounded<T>(
    client: &Client,
    address: &str,
    ask: impl AsyncFn(Channel, v1::Hello) -> Result<Response<T>, Status>,
) -> Result<T, Error> {
    let unreached = |error: tonic::transport::Error| {
        let mut text = format!("no connection to {address}: {error}");
        if let Some(source) = std::error::Error::source(&error) {
            text.push_str(&format!(": {source}"));
        }
        Error::new(Code::Unavailable, text)
    };
    let endpoint = Channel::from_shared(format!("http://{address}")).map_err(|error| {
        Error::new(Code::InvalidArgument, format!("{address:?} is no host:port: {error}"))
    })?;
    let channel = endpoint.connect().await.map_err(unreached)?;
    let hello = v1::Hello {
        version_min: handshake::VERSION_MIN,
        version_max: handshake::VERSION_MAX,
        cluster_id: client.cluster_id().to_owned(),
        ..v1::Hello::default()
    };
    match ask(channel, hello).await {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) => {
            let code = code_of(&status).unwrap_or(Code::ConnectionLost);
            let text = status.message();
            let mut error = Error::new(code, text.split_once(": ").map_or(text, |(_, text)| text));
            error.member = Some(address.to_owned());
            if code.applied() == Applied::Maybe {
                error.outcome = Outcome::Unknown;
            }
            Err(error)
        }
    }
}
