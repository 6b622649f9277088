//! Gives memory that was freed back to the host.
//!
//! The C library keeps freed memory for the next allocation, on each thread's own heap: after a whole tree was read,
//! half a gigabyte that is never used again. Worth asking for only after much was freed.

/// Gives back what is free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library's own function, which no crate wraps")]
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: malloc_trim(3) may be called at any time from any thread, and touches free memory only. Its answer says
    // whether there was any.
    let _ = unsafe { malloc_trim(0) };
}

/// Keeps each thread's heap from holding on to much that is free. For the start of the daemon.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library's own function, which no crate wraps")]
pub(crate) fn keep_little() {
    /// M_TRIM_THRESHOLD of malloc.h.
    const TRIM_THRESHOLD: std::ffi::c_int = -1;
    /// Else the threshold grows up to 64 MiB, and malloc_trim(3) does not reach the end of a thread's heap.
    const FREE_BYTES_MAX: std::ffi::c_int = 1 << 20;
    unsafe extern "C" {
        fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
    }
    // SAFETY: mallopt(3) takes two numbers; an unknown parameter is refused.
    let _ = unsafe { mallopt(TRIM_THRESHOLD, FREE_BYTES_MAX) };
}

/// Other C libraries give it back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

/// Nothing to set.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_little() {}
