//! How much work a submission holds. Windows and macOS end work that keeps a GPU busy for seconds, so on
//! a slow one a submission has to hold less: how much follows from what those before it took.

use std::collections::VecDeque;

use crate::recording::Step;

/// What a submission is to take: so long that handing it over costs nothing beside it, and a twentieth
/// of the patience of Windows.
const SECONDS: f64 = 0.1;

/// Work of a submission before any was measured: 0.1 s at 20 GFLOP/s.
const FIRST: f64 = 2e9;

/// However slow a device seems, and however fast.
const RANGE: (f64, f64) = (1e8, 1e13);

/// How far one measurement moves the limit: up quickly, down with care, since a device also seems slow
/// when the host was late to look.
const MOVES: (f64, f64) = (0.5, 4.0);

/// A shorter stretch of work tells more of handing over than of the device.
const SHORTEST: f64 = 5e-3;

/// A device that had nothing to do for longer was idle; for shorter, the host was handing over.
const PAUSE: f64 = 1e-3;

/// After so long what was measured is old: GPUs that get warm slow down.
const LONGEST: f64 = 1.0;

/// Operations that take as long as to move a byte, on most GPUs about.
const FLOPS_PER_BYTE: f64 = 8.0;

/// What a step costs a device, in operations.
pub(super) fn work(step: &Step) -> f64 {
    step.flops as f64 + FLOPS_PER_BYTE * step.bytes as f64
}

/// The limit of a submission's work, and what it is learnt from: work done in a stretch of time in which
/// the device had some all along. Times are in seconds since any moment.
pub(super) struct Pace {
    limit: f64,
    under_way: VecDeque<f64>,
    began: f64,
    done: f64,
    last: f64,
}

impl Pace {
    pub fn new() -> Pace {
        Pace {
            limit: FIRST,
            under_way: VecDeque::new(),
            began: 0.0,
            done: 0.0,
            last: f64::NEG_INFINITY,
        }
    }

    /// The most work that the next submission should hold.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// A submission of so much work was handed over.
    pub fn submitted(&mut self, now: f64, work: f64) {
        if self.under_way.is_empty() && now - self.last > PAUSE {
            (self.began, self.done) = (now, 0.0);
        }
        self.under_way.push_back(work);
    }

    /// The `count` oldest submissions under way were seen to be done, all those that are by `now`. Being late
    /// to see it makes the device seem slower, never faster.
    pub fn finished(&mut self, now: f64, count: usize) {
        self.last = now;
        let count = count.min(self.under_way.len());
        self.done += self.under_way.drain(..count).sum::<f64>();
        let seconds = now - self.began;
        if seconds < SHORTEST {
            return;
        }
        let measured = self.done / seconds * SECONDS;
        let moved = measured.clamp(MOVES.0 * self.limit, MOVES.1 * self.limit);
        self.limit = moved.clamp(RANGE.0, RANGE.1);
        if seconds > LONGEST {
            (self.began, self.done) = (now, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `total` work on a device that does `speed(t)` of it in a second at time t, the host always
    /// `ahead` submissions ahead and looking every `look` seconds at what is done. Returns the seconds
    /// that each submission took.
    fn simulate(
        pace: &mut Pace,
        total: f64,
        speed: impl Fn(f64) -> f64,
        (ahead, look): (usize, f64),
    ) -> Vec<f64> {
        let (mut left, mut now, mut free) = (total, 0.0_f64, 0.0_f64);
        let (mut took, mut ends) = (Vec::new(), VecDeque::new());
        while left > 0.0 || !ends.is_empty() {
            let count = ends.iter().take_while(|&&end| end <= now).count();
            if count > 0 {
                ends.drain(..count);
                pace.finished(now, count);
            }
            while left > 0.0 && ends.len() < ahead {
                let work = pace.limit().min(left);
                pace.submitted(now, work);
                let start = free.max(now);
                free = start + work / speed(start);
                ends.push_back(free);
                took.push(free - start);
                left -= work;
            }
            now += look;
        }
        took
    }

    /// A host that hands over whole steps of `step` work and waits for each but the last: it sees all of a
    /// step's submissions at once.
    #[test]
    fn a_host_that_waits_for_steps_changes_little() {
        for speed in SPEEDS {
            for seconds in [0.5, 2.0, 6.0, 20.0] {
                let mut pace = Pace::new();
                let (mut now, mut free, mut last) = (0.0_f64, 0.0_f64, 0.0_f64);
                let mut flights = VecDeque::new();
                for _ in 0..30 {
                    let (mut left, mut count) = (seconds * speed, 0);
                    while left > 0.0 {
                        let work = pace.limit().min(left);
                        pace.submitted(now, work);
                        free = free.max(now) + work / speed;
                        last = work / speed;
                        left -= work;
                        count += 1;
                    }
                    flights.push_back((free, count));
                    if flights.len() > 1 {
                        let (end, count) = flights.pop_front().unwrap();
                        now = now.max(end);
                        pace.finished(now, count);
                    }
                    now += 0.1;
                }
                let limit = pace.limit() / speed;
                assert!(
                    (0.2 * SECONDS..1.5 * SECONDS).contains(&limit) || pace.limit >= RANGE.1,
                    "{speed:e}, steps of {seconds} s: {limit} s, {last} s"
                );
            }
        }
    }

    const SPEEDS: [f64; 5] = [3e9, 2e10, 1e11, 1e12, 3e13];

    #[test]
    fn submissions_follow_measured_time() {
        for speed in SPEEDS {
            for (ahead, look) in [(1, 1e-4), (3, 1e-4), (64, 1e-3), (3, 0.02)] {
                let mut pace = Pace::new();
                let took = simulate(&mut pace, 60.0 * speed, |_| speed, (ahead, look));
                // The watchdog never fires: not before anything was measured either.
                let longest = took.iter().fold(0.0, |a: f64, &b| a.max(b));
                assert!(longest < 1.0, "{speed:e}, {ahead} ahead: {longest} s");
                let later = &took[took.len() / 2..took.len() - 1];
                for &seconds in later {
                    assert!(
                        (0.2 * SECONDS..1.5 * SECONDS).contains(&seconds) || pace.limit >= RANGE.1,
                        "{speed:e}, {ahead} ahead, looking every {look} s: {seconds} s"
                    );
                }
            }
        }
    }

    #[test]
    fn a_device_that_slows_down_gets_less() {
        let mut pace = Pace::new();
        let slower = |t: f64| if t < 10.0 { 1e12 } else { 1e11 };
        let took = simulate(&mut pace, 1.3e13, slower, (2, 1e-3));
        let longest = took.iter().fold(0.0, |a: f64, &b| a.max(b));
        assert!(longest < 1.6, "{longest} s");
        assert!(took[took.len() - 2] < 0.2);
    }

    #[test]
    fn a_host_that_is_late_changes_little() {
        let mut pace = Pace::new();
        simulate(&mut pace, 3e13, |_| 1e12, (3, 1e-3));
        let before = pace.limit();
        pace.submitted(100.0, 1e9);
        pace.finished(107.0, 1);
        assert!(pace.limit() >= 0.5 * before);
        // Small work says nothing.
        for i in 0..100 {
            let now = 200.0 + f64::from(i);
            pace.submitted(now, 1e6);
            pace.finished(now + 1e-3, 1);
        }
        assert!(pace.limit() >= 0.5 * before);
    }
}
