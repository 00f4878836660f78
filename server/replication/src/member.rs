//! Names. A *name* is a member's for good; an *incarnation* names its data and is new when the data is new, lost or
//! doubtful; a *run* names a process. Acks, grants and reports count only from the incarnation that a configuration
//! names; a primary is a run.

use std::{fmt, sync::Arc};

macro_rules! names {
    ($($(#[$about:meta])* $name:ident)*) => { $(
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )* };
}

names! {
    /// Of a member, stable over restarts and loss of data.
    Name
    /// Of a replica's data.
    Inc
    /// Of a process.
    Run
}

/// One replica as it is now.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Who.
    pub name: Name,
    /// Which data.
    pub inc: Inc,
    /// Which process.
    pub run: Run,
}

impl Member {
    /// Whether both are the same member with the same data, in whichever process.
    pub fn is_copy(&self, other: &Member) -> bool {
        self.name == other.name && self.inc == other.inc
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.name, self.inc, self.run)
    }
}
