//! Filters that are about to be subscribed to: their room is theirs from the moment when they are granted, whoever else asks
//! meanwhile.

use std::sync::Arc;

use super::Router;

/// A client that asks for no more filters than these finds room in the reserve: a device has one or two, a dashboard as many as
/// it has panels.
pub const A_FEW: usize = 16;

/// To be kept until the link has subscribed.
pub struct Claims {
    router: Arc<Router>,
    /// With the generation of the router that they are claimed from.
    filters: Vec<(u64, u64)>,
}

impl Claims {
    pub(super) fn new(router: Arc<Router>) -> Claims {
        Claims { router, filters: Vec::new() }
    }

    /// Claims room for a filter of somebody who has asked for so many. False when there is none.
    pub fn claim(&mut self, filter: &str, asked_for: usize) -> bool {
        let (hash, limits) = (self.router.hash(filter), &self.router.limits);
        let kept_free = if asked_for <= A_FEW { 0 } else { limits.reserve };
        let mut state = self.router.lock();
        let generation = state.generation;
        let Some(running) = &mut state.running else { return true };
        let room = running.has_room_for_filter(hash, filter, kept_free, limits);
        if room {
            running.took_filter(hash, filter);
            self.filters.push((generation, hash));
        }
        room
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        for (generation, hash) in self.filters.drain(..) {
            self.router.with(generation, |running| running.let_go_filter(hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::router::Limits;

    #[tokio::test]
    async fn who_asks_for_many_leaves_room_for_who_asks_for_few() {
        let limits = Limits { filters: 4, live_filters: 2, reserve: 1, ..Limits::default() };
        let (router, _keeper) = Router::start(limits).expect("it starts");
        let (mut many, mut few) = (router.claims(), router.claims());
        let granted = |claims: &mut Claims, filter, asked_for| claims.claim(filter, asked_for);
        assert!(granted(&mut many, "a", 1_000) && granted(&mut many, "b", 1_000));
        assert!(!granted(&mut many, "c", 1_000));
        assert!(granted(&mut few, "a", 1) && granted(&mut few, "c", A_FEW));
        assert!(!granted(&mut few, "d", 1));
        drop(many);
        assert!(granted(&mut few, "d", 1));
    }
}
