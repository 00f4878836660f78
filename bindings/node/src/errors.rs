//! Errors as plain objects, of which `lib/errors.js` makes instances of its classes.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use slotkv_facade::error::FacadeError;

/// An error.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Failure {
    pub code: u32,
    pub kind: &'static str,
    pub retry: &'static str,
    pub retryable: bool,
    pub outcome: &'static str,
    pub message: String,
    pub member: Option<String>,
    pub attempts: u32,
    pub causes: Vec<String>,
    pub token: Option<Buffer>,
}

impl From<FacadeError> for Failure {
    fn from(error: FacadeError) -> Self {
        Self {
            code: error.number(),
            kind: error.name(),
            retry: error.retry.name(),
            retryable: error.is_retryable(),
            outcome: error.outcome.name(),
            message: error.message,
            member: error.member,
            attempts: error.attempts,
            causes: error.causes,
            token: error.token.map(|token| token.to_vec().into()),
        }
    }
}
