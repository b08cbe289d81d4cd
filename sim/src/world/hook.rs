//! The one unsafe file: replaces the libc symbol `syscall`, so that getrandom(2) made through it (ring does)
//! answers from the seed on the simulation's thread. Every other call, and every other thread, reaches the
//! kernel unchanged. Linux on x86_64 and aarch64 only.
//!
//! madsim replaces `getrandom`, `getentropy`, `clock_gettime` and `gettimeofday`; not this one.

#![expect(unsafe_code, reason = "a libc symbol is replaced and the kernel is called")]

use libc::{c_int, c_long};
use std::cell::Cell;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("the simulator runs on Linux on x86_64 and aarch64 only");

thread_local! {
    /// State of the stream (SplitMix64), if this thread is a simulation's. Never used for keys of a real service.
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Disarms the hook on this thread when dropped.
pub struct Armed(());

impl Drop for Armed {
    fn drop(&mut self) {
        STREAM.set(None);
    }
}

/// From now on getrandom(2) answers from the seed on this thread.
pub fn arm(seed: u64) -> Armed {
    // The mention of the symbol makes sure that it is linked.
    std::hint::black_box(syscall as *const ());
    STREAM.set(Some(seed ^ 0x6b6d_732d_7369_6d00));
    Armed(())
}

/// Panics if another `syscall` than ours is linked, which would make every run differ.
pub fn check() {
    let mut drawn = [[0u8; 16]; 2];
    let before = STREAM.get();
    for bytes in &mut drawn {
        STREAM.set(before);
        // SAFETY: getrandom writes at most 16 bytes to the 16 bytes given.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
        assert_eq!(got, 16, "getrandom");
    }
    STREAM.set(before);
    assert!(before.is_some() && drawn[0] == drawn[1], "the syscall hook is not linked: runs would differ");
}

/// The kernel's monotonic clock, past every interposed symbol: one of the planted leaks.
pub(super) fn kernel_clock_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec to the one given.
    unsafe {
        let at = &raw mut now as c_long;
        kernel(libc::SYS_clock_gettime, [c_long::from(libc::CLOCK_MONOTONIC), at, 0, 0, 0, 0]);
    }
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills from the stream; false if this thread is no simulation's.
fn fill(buffer: &mut [u8]) -> bool {
    // A thread that ends has no thread-locals any more: it is no simulation's either.
    let Ok(Some(mut state)) = STREAM.try_with(Cell::get) else { return false };
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STREAM.set(Some(state));
    true
}

/// libc's `syscall`.
///
/// # Safety
/// As for syscall(2): the arguments must be what call `number` wants.
// SAFETY (no_mangle): the symbol replaces libc's in the simulator's binaries on purpose. libc declares it
// variadic; on both ABIs (System V x86_64, AAPCS64 on Linux) integer arguments of variadic calls are passed
// in the same registers as fixed ones, the first six of them never on the stack except the seventh parameter
// on x86_64, which a fixed signature finds in the same place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == libc::SYS_getrandom && a != 0 && b > 0 {
        // SAFETY: the caller of getrandom(2) gives a buffer of `b` writable bytes at `a`.
        let buffer = unsafe { std::slice::from_raw_parts_mut(a as *mut u8, b as usize) };
        if fill(buffer) {
            return b;
        }
    }
    // SAFETY: the caller's arguments are passed on as they are.
    let result = unsafe { kernel(number, [a, b, c, d, e, f]) };
    if (-4095..0).contains(&result) {
        // SAFETY: the address of this thread's errno.
        unsafe { *libc::__errno_location() = -result as c_int };
        return -1;
    }
    result
}

/// Enters the kernel.
///
/// # Safety
/// As for syscall(2).
#[cfg(target_arch = "x86_64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: the x86_64 Linux calling convention; rcx and r11 are overwritten by the instruction.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Enters the kernel.
///
/// # Safety
/// As for syscall(2).
#[cfg(target_arch = "aarch64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: the aarch64 Linux calling convention.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x5") arguments[5],
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::{rand::SystemRandom, signature::Ed25519KeyPair};

    #[expect(clippy::disallowed_methods, reason = "the point is that ring's own source of bytes repeats")]
    fn key() -> Vec<u8> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        document.map(|document| document.as_ref().to_vec()).unwrap_or_default()
    }

    #[test]
    fn ring_keys_repeat_for_a_seed_and_differ_without() {
        let seeded = |seed| {
            let _armed = arm(seed);
            check();
            key()
        };
        let (one, two, other) = (seeded(7), seeded(7), seeded(8));
        assert!(!one.is_empty());
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_ne!(key(), key(), "without a seed the kernel answers");
    }

    #[test]
    fn other_calls_reach_the_kernel() {
        // SAFETY: getpid takes nothing; close takes a number and this one is no file.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_getpid), c_long::from(libc::getpid()));
            assert_eq!(libc::syscall(libc::SYS_close, -1), -1);
        }
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    }
}
