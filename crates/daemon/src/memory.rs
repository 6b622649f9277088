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

/// Other C libraries give it back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
