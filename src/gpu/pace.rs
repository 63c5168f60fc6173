//! The pace: how much work a submission holds. Windows and macOS stop a submission that keeps a GPU busy for
//! seconds, so a slow GPU gets less work at a time. The time of earlier submissions decides how much.

use std::collections::VecDeque;

use crate::recording::Step;

/// The time that a submission aims at. The overhead of a submission is small beside it, and Windows waits twenty
/// times as long before it stops one.
const SECONDS: f64 = 0.1;

/// The work of a submission before the first measurement: 0.1 s at 20 GFLOP/s.
const FIRST: f64 = 2e9;

/// The same on a discrete GPU: 0.1 s at 400 GFLOP/s, far below any of them. The first steps, on which the variants
/// are measured, are whole products then.
const FIRST_DISCRETE: f64 = 4e10;

/// The bounds of the limit, however slow or fast a device seems.
const RANGE: (f64, f64) = (1e8, 1e13);

/// One measurement changes the limit by these factors at most. The limit falls more slowly than it rises, because
/// a device also seems slow when the host looks late.
const MOVES: (f64, f64) = (0.5, 4.0);

/// The shortest stretch of work that counts, in seconds: a shorter one measures the overhead of submissions
/// rather than the device.
const SHORTEST: f64 = 5e-3;

/// A gap in seconds: after a longer gap between submissions the device was idle; in a shorter gap the host was
/// only preparing the next submission.
const PAUSE: f64 = 1e-3;

/// A stretch ends after this many seconds, because GPUs slow down as they get warm.
const LONGEST: f64 = 1.0;

/// Most GPUs compute about this many operations in the time in which they move a byte.
const FLOPS_PER_BYTE: f64 = 8.0;

/// The cost of a step, in operations.
pub(super) fn work(step: &Step) -> f64 {
    step.flops as f64 + FLOPS_PER_BYTE * step.bytes as f64
}

/// The limit of a submission's work, in operations. It follows the device's rate in a stretch: a span of time in
/// which the device always had work. The rate is the work done in the stretch over its length. Times are in
/// seconds since an arbitrary moment.
pub(super) struct Pace {
    limit: f64,
    under_way: VecDeque<f64>,
    began: f64,
    done: f64,
    last: f64,
}

impl Pace {
    /// The pace of a device about which only its kind is known.
    pub fn of(kind: wgpu::DeviceType) -> Pace {
        Pace::starting_at(match kind {
            wgpu::DeviceType::DiscreteGpu => FIRST_DISCRETE,
            _ => FIRST,
        })
    }

    fn starting_at(limit: f64) -> Pace {
        Pace {
            limit,
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

    /// Notes that a submission of this work was handed over at `now`.
    pub fn submitted(&mut self, now: f64, work: f64) {
        if self.under_way.is_empty() && now - self.last > PAUSE {
            (self.began, self.done) = (now, 0.0);
        }
        self.under_way.push_back(work);
    }

    /// Notes that at `now` the host saw the `count` oldest submissions done, and no other. A host that looks late
    /// makes the device seem slower, never faster.
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

    /// Runs `total` work on a device that does `speed(t)` work a second at time t. The host stays `ahead`
    /// submissions ahead, and looks every `look` seconds for finished submissions. Returns the seconds of each
    /// submission.
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

    /// The host submits whole optimizer steps and waits for each but the last, so it sees all submissions of a
    /// step finish at once.
    #[test]
    fn a_host_that_waits_for_steps_changes_little() {
        for speed in SPEEDS {
            for seconds in [0.5, 2.0, 6.0, 20.0] {
                let mut pace = Pace::starting_at(FIRST);
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
                let mut pace = Pace::starting_at(FIRST);
                let took = simulate(&mut pace, 60.0 * speed, |_| speed, (ahead, look));
                // The watchdog never fires, even before the first measurement.
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
    fn a_slow_discrete_gpu_is_not_taken_for_hung() {
        for speed in [1e11, 1e12, 3e13] {
            let mut pace = Pace::of(wgpu::DeviceType::DiscreteGpu);
            let took = simulate(&mut pace, 60.0 * speed, |_| speed, (64, 1e-3));
            let longest = took.iter().fold(0.0, |a: f64, &b| a.max(b));
            assert!(longest < 1.0, "{speed:e}: {longest} s");
        }
    }

    #[test]
    fn a_device_that_slows_down_gets_less() {
        let mut pace = Pace::starting_at(FIRST);
        let slower = |t: f64| if t < 10.0 { 1e12 } else { 1e11 };
        let took = simulate(&mut pace, 1.3e13, slower, (2, 1e-3));
        let longest = took.iter().fold(0.0, |a: f64, &b| a.max(b));
        assert!(longest < 1.6, "{longest} s");
        assert!(took[took.len() - 2] < 0.2);
    }

    #[test]
    fn a_host_that_is_late_changes_little() {
        let mut pace = Pace::starting_at(FIRST);
        simulate(&mut pace, 3e13, |_| 1e12, (3, 1e-3));
        let before = pace.limit();
        pace.submitted(100.0, 1e9);
        pace.finished(107.0, 1);
        assert!(pace.limit() >= 0.5 * before);
        // Submissions of little work say nothing about the device.
        for i in 0..100 {
            let now = 200.0 + f64::from(i);
            pace.submitted(now, 1e6);
            pace.finished(now + 1e-3, 1);
        }
        assert!(pace.limit() >= 0.5 * before);
    }
}
