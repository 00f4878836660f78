//! Declarations out of source text. Each reader knows the form that its file is written in, by a formatter or a generator,
//! and no more of the language.

pub mod c;
pub mod cpp;
pub mod go;
pub mod kotlin;
pub mod node;
pub mod proto;
pub mod python;
pub mod rust;
