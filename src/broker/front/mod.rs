//! What devices connect to.

pub mod codec;
