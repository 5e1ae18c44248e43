//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::{broker::front::MAX_OTHERS, http};

/// For the database, listeners and the gateway itself.
const OWN: usize = 128;

/// Raises the limit, which is 1024 as a rule, as far as so many clients need it and the system lets it be raised.
pub fn raise(clients: usize) {
    let needed = (clients + MAX_OTHERS + http::MAX_CONNECTIONS + OWN) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // What is absent has no end.
    let Some(current) = current.filter(|current| *current < needed) else { return };
    let reachable = maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum });
    let may = if raised.is_ok() { reachable } else { current };
    if may < needed {
        warn!(
            may,
            needed,
            "only {may} files may be open, and {clients} clients may need {needed}: \
             set LimitNOFILE={needed} in the systemd unit, or start with ulimit -n {needed}"
        );
    }
}
