//! A place for a member: what it is and where, whether it runs or not.

use std::{future::Future, sync::Arc};

use super::{
    DevError, DevOptions,
    coordinator::Shared,
    member::{Member, Role},
};
use crate::{
    metrics::Board,
    serve::{ListenError, Listening},
};

/// A place for a member: it keeps its address while the member is gone.
pub(super) struct Place {
    /// For messages.
    pub label: String,
    pub role: Role,
    /// `ip:port` to listen on.
    pub bound: String,
    /// `None` while it does not run.
    pub member: Option<Member>,
}

impl Place {
    /// Takes its address.
    pub fn bind(&self, options: &DevOptions) -> Result<Listening, DevError> {
        Listening::bind(&self.bound, 0, options.advertise.as_deref()).map_err(|error: ListenError| {
            DevError::Member { member: self.label.clone(), source: error.into() }
        })
    }

    /// Starts its member. The future is done when it serves.
    pub fn launch(
        &mut self,
        options: &DevOptions,
        coordinator: &Shared,
        board: &Board,
        listening: Listening,
    ) -> Result<impl Future<Output = Result<(), DevError>> + use<>, DevError> {
        let label = self.label.clone();
        let failed = move |source| DevError::Member { member: label, source };
        let coordinator = Arc::new(coordinator.clone());
        match Member::start(self.role.clone(), listening, options.connections_max, coordinator, board.clone())
        {
            Ok((member, starting)) => {
                self.member = Some(member);
                Ok(async move { starting.await.map_err(failed) })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// `host:port` of the members that run.
pub(super) fn addresses(places: &[Place]) -> Vec<String> {
    places.iter().filter_map(|place| Some(place.member.as_ref()?.address().to_owned())).collect()
}

/// Takes the member that runs in a place.
pub(super) fn take(places: &mut [Place], index: usize) -> Result<Member, DevError> {
    let place =
        places.get_mut(index).ok_or_else(|| DevError::NoMember(format!("there is no member {index}")))?;
    place.member.take().ok_or_else(|| DevError::NoMember(format!("{} does not run", place.label)))
}

/// A place whose member does not run.
pub(super) fn ended(places: &mut [Place], index: usize) -> Result<&mut Place, DevError> {
    match places.get_mut(index) {
        None => Err(DevError::NoMember(format!("there is no member {index}"))),
        Some(place) if place.member.is_some() => Err(DevError::NoMember(format!("{} runs", place.label))),
        Some(place) => Ok(place),
    }
}
