//! What the process takes of the machine's memory: what a flood needed is given back.

use std::fs;

use tokio::{
    task::spawn_blocking,
    time::{Duration, sleep},
};
use tokio_util::sync::CancellationToken;

/// How often is looked at what is taken, and how seldom when giving back gave nothing.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const SELDOM: Duration = Duration::from_secs(10);
/// So much more than at the quietest moment is worth the milliseconds that giving back costs; in KiB.
const WORTH_KIB: u64 = 8 * 1024;

/// Gives memory back, until the gateway stops.
pub async fn run(stopping: CancellationToken) {
    // Not on Linux, perhaps. Looked at before the first flood can have begun.
    let Some(mut least) = resident() else { return };
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
        let Some(before) = resident() else { return };
        pause = LOOK_EVERY;
        if before > least + WORTH_KIB {
            let _ = spawn_blocking(heap::trim).await;
            let after = resident().unwrap_or(before);
            if before - after.min(before) < WORTH_KIB {
                // It is needed.
                pause = SELDOM;
            }
        }
        least = least.min(resident().unwrap_or(least));
    }
}

/// What is taken, in KiB.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_taken_is_known() {
        assert!(super::resident().is_some_and(|kib| kib > 1_000));
    }
}
