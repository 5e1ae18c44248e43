//! Where connections wait until they have said CONNECT, and the way from there to a client's place.
//!
//! Those who say nothing have room of their own, so that they keep no client out. When it is full, one of
//! them gives way to whoever comes.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::model::SessionId;

/// Connections that wait: as many devices may come at once after a power cut, and each costs a task and a socket.
pub const MAX_WAITING: usize = 512;
/// Places beyond all others, for clients that replace a connection of their own: as many can ask at once.
pub const MAX_HEIRS: usize = MAX_WAITING;

/// Counts everybody who is here.
pub struct Hall {
    max_places: usize,
    /// Of one IP address; loopback has no bound of its own.
    max_of_address: usize,
    here: Mutex<Here>,
}

#[derive(Default)]
struct Here {
    /// The oldest first.
    waiting: BTreeMap<SessionId, (IpAddr, CancellationToken)>,
    addresses: HashMap<IpAddr, Guests>,
    /// Where each client's connections come from: one, and its heir for the moment until it has left.
    clients: HashMap<Arc<str>, Vec<IpAddr>>,
    places: usize,
}

/// Connections of one address.
#[derive(Default)]
struct Guests {
    waiting: usize,
    places: usize,
}

/// A connection that has not been let in yet.
pub struct Waiting {
    hall: Arc<Hall>,
    session: SessionId,
    address: IpAddr,
    gives_way: CancellationToken,
}

/// A client's right to be here. Dropping it makes room for another.
pub struct Pass {
    hall: Arc<Hall>,
    client_id: Arc<str>,
    address: IpAddr,
}

/// There is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Everywhere,
    /// For this address.
    Here,
}

impl Hall {
    pub fn new(max_places: usize, max_of_address: usize) -> Arc<Hall> {
        Arc::new(Hall { max_places, max_of_address, here: Mutex::default() })
    }

    /// Lets a connection wait, in the place of another if need be: the oldest of the address that has the most here.
    /// `gives_way` ends the wait.
    pub fn enter(
        self: &Arc<Hall>,
        session: SessionId,
        peer: SocketAddr,
        gives_way: CancellationToken,
    ) -> Waiting {
        let address = peer.ip().to_canonical();
        let mut here = self.lock();
        if here.waiting.len() >= MAX_WAITING {
            let crowd =
                |(ip, _): &(IpAddr, CancellationToken)| here.addresses.get(ip).map(|guests| guests.waiting);
            // Of equals the last one counts, which is the oldest.
            let oldest = here.waiting.iter().rev().max_by_key(|(_, guest)| crowd(guest));
            if let Some(oldest) = oldest.map(|(session, _)| *session) {
                here.put_out(oldest);
            }
        }
        here.waiting.insert(session, (address, gives_way.clone()));
        here.addresses.entry(address).or_default().waiting += 1;
        Waiting { hall: self.clone(), session, address, gives_way }
    }

    /// The older half of those who wait gives way: there is not even a socket for whoever comes.
    pub fn make_room(&self) {
        let mut here = self.lock();
        let half = here.waiting.len().div_ceil(2);
        let older: Vec<SessionId> = here.waiting.keys().take(half).copied().collect();
        older.into_iter().for_each(|session| here.put_out(session));
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Goes on until the connection has to give way.
    pub async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.gives_way.run_until_cancelled(work).await
    }

    /// Cancelling it ends the wait.
    pub fn gives_way(&self) -> CancellationToken {
        self.gives_way.clone()
    }

    /// Takes a client's place; without one it waits on, to be told so. A client that has one connection here is given
    /// a place beyond the bounds, because that one leaves: two at a time, and at an address no more than it had.
    pub fn pass(&self, client_id: &Arc<str>) -> Result<Pass, Full> {
        let Waiting { hall, address, .. } = self;
        let mut here = hall.lock();
        let older = match here.clients.get(client_id).map(Vec::as_slice) {
            Some([older]) => Some(*older),
            Some(_) | None => None,
        };
        let of_address = here.addresses.get(address).map_or(0, |guests| guests.places);
        if !address.is_loopback() && of_address >= hall.max_of_address && older != Some(*address) {
            return Err(Full::Here);
        }
        let heirs = if older.is_some() { MAX_HEIRS } else { 0 };
        if here.places >= hall.max_places + heirs {
            return Err(Full::Everywhere);
        }
        here.places += 1;
        here.addresses.entry(*address).or_default().places += 1;
        here.clients.entry(client_id.clone()).or_default().push(*address);
        here.forget(self.session);
        Ok(Pass { hall: hall.clone(), client_id: client_id.clone(), address: *address })
    }
}

impl Here {
    fn put_out(&mut self, session: SessionId) {
        if let Some(gives_way) = self.forget(session) {
            metrics::counter!("crosslink_mqtt_gave_way_total").increment(1);
            gives_way.cancel();
        }
    }

    fn forget(&mut self, session: SessionId) -> Option<CancellationToken> {
        let (address, gives_way) = self.waiting.remove(&session)?;
        self.leaves(address, |guests| guests.waiting -= 1);
        Some(gives_way)
    }

    fn leaves(&mut self, address: IpAddr, leave: impl FnOnce(&mut Guests)) {
        let Some(guests) = self.addresses.get_mut(&address) else { return };
        leave(guests);
        if guests.waiting == 0 && guests.places == 0 {
            self.addresses.remove(&address);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hall.lock().forget(self.session);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut here = self.hall.lock();
        here.places -= 1;
        here.leaves(self.address, |guests| guests.places -= 1);
        let Some(connections) = here.clients.get_mut(&self.client_id) else { return };
        // Those of one address are alike.
        if let Some(at) = connections.iter().position(|address| *address == self.address) {
            connections.swap_remove(at);
        }
        if connections.is_empty() {
            here.clients.remove(&self.client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Crowd {
        hall: Arc<Hall>,
        sessions: i64,
    }

    impl Crowd {
        fn new(max_places: usize, max_of_address: usize) -> Crowd {
            Crowd { hall: Hall::new(max_places, max_of_address), sessions: 0 }
        }

        fn enters(&mut self, address: &str) -> Waiting {
            self.sessions += 1;
            let peer = SocketAddr::new(address.parse().unwrap(), 1);
            self.hall.enter(SessionId(self.sessions), peer, CancellationToken::new())
        }

        /// A client that was never here.
        fn passes(&mut self, address: &str) -> Result<Pass, Full> {
            let waiting = self.enters(address);
            waiting.pass(&self.sessions.to_string().into())
        }

        fn returns(&mut self, client_id: &str, address: &str) -> Result<Pass, Full> {
            self.enters(address).pass(&client_id.into())
        }

        fn is_empty(&self) -> bool {
            let here = self.hall.lock();
            here.waiting.is_empty()
                && here.addresses.is_empty()
                && here.clients.is_empty()
                && here.places == 0
        }
    }

    fn full(passed: Result<Pass, Full>) -> Option<Full> {
        passed.err()
    }

    #[test]
    fn a_place_that_is_left_is_free() {
        let mut crowd = Crowd::new(2, 2);
        let first = crowd.passes("10.0.0.1").unwrap();
        let second = crowd.passes("10.0.0.2").unwrap();
        assert_eq!(full(crowd.passes("10.0.0.3")), Some(Full::Everywhere));
        drop(first);
        let third = crowd.passes("10.0.0.3").unwrap();
        drop((second, third));
        assert!(crowd.is_empty());
    }

    #[test]
    fn one_address_takes_no_more_than_its_share() {
        let mut crowd = Crowd::new(10, 2);
        let passes = [crowd.passes("10.0.0.1"), crowd.passes("::ffff:10.0.0.1")];
        assert_eq!(full(crowd.passes("10.0.0.1")), Some(Full::Here));
        assert_eq!(full(crowd.passes("10.0.0.2")), None);
        drop(passes);
        assert_eq!(full(crowd.passes("10.0.0.1")), None);
        assert!(crowd.is_empty());
    }

    #[test]
    fn who_replaces_itself_needs_no_second_place() {
        let mut crowd = Crowd::new(2, 2);
        let first = crowd.returns("a", "10.0.0.1").unwrap();
        let other = crowd.returns("b", "10.0.0.1").unwrap();
        let second = crowd.returns("a", "10.0.0.1").unwrap();
        assert_eq!(full(crowd.returns("a", "10.0.0.1")), Some(Full::Here), "the first has not left");
        assert_eq!(full(crowd.returns("c", "10.0.0.2")), Some(Full::Everywhere));
        drop(first);
        assert_eq!(full(crowd.returns("c", "10.0.0.2")), Some(Full::Everywhere));
        let third = crowd.returns("a", "10.0.0.1").unwrap();
        drop((second, third, other));
        assert!(crowd.is_empty());
    }

    #[test]
    fn who_moves_takes_its_share_of_the_new_address() {
        let mut crowd = Crowd::new(10, 1);
        let _old = crowd.returns("a", "10.0.0.1").unwrap();
        let _other = crowd.returns("b", "10.0.0.2").unwrap();
        assert_eq!(full(crowd.returns("a", "10.0.0.2")), Some(Full::Here));
        assert_eq!(full(crowd.returns("a", "10.0.0.3")), None);
    }

    #[test]
    fn heirs_have_a_bound() {
        let mut crowd = Crowd::new(MAX_HEIRS + 1, 1);
        let everybody = |crowd: &mut Crowd| -> Vec<Pass> {
            (0..=MAX_HEIRS).map_while(|n| crowd.returns(&n.to_string(), "127.0.0.1").ok()).collect()
        };
        let old = everybody(&mut crowd);
        assert_eq!((old.len(), everybody(&mut crowd).len()), (MAX_HEIRS + 1, MAX_HEIRS));
    }

    #[test]
    fn loopback_has_no_share_but_counts() {
        let mut crowd = Crowd::new(6, 1);
        let _passes = ["127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1", "10.0.0.1"]
            .map(|address| crowd.passes(address).unwrap());
        assert_eq!(full(crowd.passes("127.0.0.1")), Some(Full::Everywhere));
    }

    #[test]
    fn the_oldest_of_the_largest_crowd_gives_way() {
        let mut crowd = Crowd::new(1, 1);
        let single = crowd.enters("10.0.0.1");
        let mut silent: Vec<Waiting> = (1..MAX_WAITING).map(|_| crowd.enters("10.0.0.2")).collect();
        let gone = |waiting: &Waiting| waiting.gives_way.is_cancelled();
        assert!(!silent.iter().any(gone));

        let newcomer = crowd.enters("10.0.0.3");

        assert!(gone(&silent[0]) && !silent[1..].iter().any(gone));
        assert!(!gone(&single) && !gone(&newcomer));
        drop(silent.split_off(1));
        // Alone they are equals.
        silent.extend((0..MAX_WAITING - 2).map(|n| crowd.enters(&format!("10.1.{}.{}", n / 256, n % 256))));
        assert!(!gone(&single));
        crowd.enters("10.0.0.4");
        assert!(gone(&single) && !gone(&newcomer));
        drop((single, silent, newcomer));
        assert!(crowd.is_empty());
    }

    #[test]
    fn the_older_half_makes_room() {
        let mut crowd = Crowd::new(1, 1);
        let waiting: Vec<Waiting> = (0..5).map(|_| crowd.enters("10.0.0.1")).collect();
        crowd.hall.make_room();
        let gone: Vec<bool> = waiting.iter().map(|waiting| waiting.gives_way.is_cancelled()).collect();
        assert_eq!(gone, [true, true, true, false, false]);
    }
}
