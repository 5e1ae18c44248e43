//! The one thing that needs a word with the allocator of C.

/// Gives free memory back to the system. glibc by itself gives back only what lies at the end, so that after a flood a process
/// stays as large as it ever was. It takes milliseconds, in which who wants memory may wait.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time and from any thread, and takes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
