//! Sessions over streams in memory: whatever their clients write, they end with them.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, proptest},
};

#[path = "../../../fuzz/sessions.rs"]
mod sessions;

use self::sessions::Sessions;
use crate::harness::packets;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_session_ends_with_its_client_whatever_that_has_said(falls in vec(any::<u8>(), 0..6_000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut dice = packets::loaded(&falls);
        // Two have the same name.
        let clients = ["a", "b", "a"].map(|id| packets::session(&mut dice, id.to_owned(), true).0);
        runtime.block_on(async { Sessions::open().serve(clients.to_vec()).await });
    }
}
