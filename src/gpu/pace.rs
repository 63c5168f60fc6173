//! The pace: how much work a submission holds, and whether the device rests after it. Windows and macOS stop a
//! submission that keeps a GPU busy for seconds, so a slow GPU gets less work at a time. The time of earlier
//! submissions decides how much.

use std::collections::VecDeque;

use crate::recording::Step;

/// The time that a submission aims at. The overhead of a submission is small beside it, and Windows waits twenty
/// times as long before it stops one.
const SECONDS: f64 = 0.1;

/// The same on a GPU that somebody uses meanwhile: their picture waits for a submission's end. It is half of the 8 ms
/// that a submission may take, because steps of equal work take unequal time.
const GENTLE_SECONDS: f64 = 4e-3;

/// The least work of a submission before the first measurement: 0.1 s at 20 GFLOP/s.
const FIRST: f64 = 2e9;

/// The same on a discrete GPU: 0.1 s at 400 GFLOP/s, far below any of them. The first steps, on which the variants
/// are measured, are whole products then.
const FIRST_DISCRETE: f64 = 4e10;

/// The bounds of the limit: the least is a few rows of a product, and the most is beyond any device, so that measured
/// time alone decides.
const RANGE: (f64, f64) = (1e8, 1e16);

/// The share of a limit with which a run begins that comes from an earlier run, or from copies: the device may be slower
/// today, and slower at products than at copies.
const UNSURE: f64 = 0.5;

/// After the host was busy, this many looks tell nothing of the device: the first comes late, and the second may see
/// the end of a submission that was already under way at the first.
const LATE_LOOKS: u32 = 2;

/// One measurement changes the limit by these factors at most. The limit falls more slowly than it rises, because
/// a device also seems slow when the host looks late.
const MOVES: (f64, f64) = (0.5, 4.0);

/// The shortest stretch of work that counts, in seconds: a shorter one measures the overhead of submissions
/// rather than the device.
const SHORTEST: f64 = 5e-3;

/// The same for a gentle pace, whose stretches are single submissions.
const GENTLE_SHORTEST: f64 = 1e-3;

/// A submission that was too short to count but held at least this share of the limit shows that the limit is low.
const FULL: f64 = 0.5;

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
    /// The time that a submission aims at, in seconds.
    aim: f64,
    shortest: f64,
    /// After each submission the device rests, so that each is a stretch of its own.
    rests: bool,
    limit: f64,
    under_way: VecDeque<f64>,
    began: f64,
    done: f64,
    last: f64,
    late_looks: u32,
    measured: bool,
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
            aim: SECONDS,
            shortest: SHORTEST,
            rests: false,
            limit,
            under_way: VecDeque::new(),
            began: 0.0,
            done: 0.0,
            last: f64::NEG_INFINITY,
            late_looks: 0,
            measured: false,
        }
    }

    /// This pace, raised to what the rate of copies on the device lets expect, in bytes read and written a second. A
    /// device that is not discrete gets no more than a discrete one of which nothing is known.
    pub fn with_copies(mut self, bytes_a_second: f64, kind: wgpu::DeviceType) -> Pace {
        let expected = UNSURE * FLOPS_PER_BYTE * bytes_a_second * SECONDS;
        let most = match kind {
            wgpu::DeviceType::DiscreteGpu => RANGE.1,
            _ => FIRST_DISCRETE,
        };
        self.limit = self.limit.max(expected.min(most));
        self
    }

    /// This pace, raised to what an earlier run on the same device has measured, if that is more. It is never lowered: a
    /// run of small kernels measures little else than the overhead of submissions.
    pub fn with_kept(mut self, limit: Option<f64>) -> Pace {
        if let Some(limit) = limit.filter(|limit| limit.is_finite()) {
            self.limit = self.limit.max((UNSURE * limit).min(RANGE.1));
        }
        self
    }

    /// Undoes what lowered the limit since it was `limit`, because it was no work of recordings.
    pub fn back_to(&mut self, limit: f64) {
        self.limit = self.limit.max(limit);
        self.disturbed();
    }

    /// Makes this pace gentle: short submissions, each followed by a rest.
    pub fn be_gentle(&mut self) {
        self.limit *= GENTLE_SECONDS / self.aim;
        (self.aim, self.shortest) = (GENTLE_SECONDS, GENTLE_SHORTEST);
        self.rests = true;
    }

    /// True if the device is to rest after each submission.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// The limit of a pace that is not gentle, if it was measured in this run.
    pub fn measured(&self) -> Option<f64> {
        self.measured.then_some(self.limit / self.aim * SECONDS)
    }

    /// Moves the limit to `wanted`, as far as one measurement may.
    fn moves_to(&mut self, wanted: f64) {
        let moved = wanted.clamp(MOVES.0 * self.limit, MOVES.1 * self.limit);
        let scale = self.aim / SECONDS;
        self.limit = moved.clamp(RANGE.0 * scale, RANGE.1 * scale);
    }

    /// Notes that the host was busy, or sent much data: what it sees next it sees late, and that tells nothing of the
    /// device.
    pub fn disturbed(&mut self) {
        self.late_looks = LATE_LOOKS;
    }

    /// The most work that the next submission should hold.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Notes that a submission of this work was handed over at `now`.
    pub fn submitted(&mut self, now: f64, work: f64) {
        if self.under_way.is_empty() && (self.rests || now - self.last > PAUSE) {
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
        if self.late_looks > 0 {
            self.late_looks -= 1;
            (self.began, self.done) = (now, 0.0);
            return;
        }
        let seconds = now - self.began;
        if seconds < self.shortest {
            // Stretches without rests grow until they count.
            if self.rests && self.done >= FULL * self.limit {
                self.moves_to(self.limit / FULL);
            }
            return;
        }
        self.measured = true;
        self.moves_to(self.done / seconds * self.aim);
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

    /// Somebody who uses a gentle GPU waits at most 8 ms, whatever its speed and however late the host looks; and the
    /// device is not left idle by tiny submissions.
    #[test]
    fn a_gentle_pace_keeps_to_its_time() {
        use wgpu::DeviceType::{DiscreteGpu, IntegratedGpu};
        const MOST: f64 = 8e-3;
        for speed in SPEEDS {
            for kind in [IntegratedGpu, DiscreteGpu] {
                for overhead in [2e-5, 2e-4] {
                    let mut pace = Pace::of(kind);
                    pace.be_gentle();
                    let (mut now, mut took) = (0.0, Vec::new());
                    for turn in 0..600 {
                        // Each tenth submission is the small rest of a recording.
                        let share = if turn % 10 == 9 { 0.01 } else { 1.0 };
                        let work = share * pace.limit();
                        pace.submitted(now, work);
                        let seconds = overhead + work / speed;
                        now += seconds;
                        pace.finished(now, 1);
                        took.push(seconds);
                        now += seconds; // the rest
                    }
                    let floor = overhead + RANGE.0 * GENTLE_SECONDS / SECONDS / speed;
                    let late = &took[100..];
                    let longest = late.iter().fold(0.0, |a: f64, &b| a.max(b));
                    assert!(longest <= MOST.max(floor), "{speed:e}: {longest} s");
                    assert!(
                        longest >= 0.5 * GENTLE_SECONDS,
                        "{speed:e}: only {longest} s"
                    );
                    let kept = pace.measured().unwrap();
                    assert!(
                        kept <= 1.1 * SECONDS * speed || floor > GENTLE_SECONDS,
                        "{kept:e}"
                    );
                }
            }
        }
    }

    /// Copies raise the limit before the first measurement, as far as they can tell: 3 TB/s give the head of gpt2-xl in
    /// one step, and an integrated GPU no more than a discrete one of which nothing is known.
    #[test]
    fn copies_tell_what_to_expect() {
        use wgpu::DeviceType::{DiscreteGpu, IntegratedGpu};
        let after = |kind, rate| Pace::of(kind).with_copies(rate, kind).limit();
        assert!(after(DiscreteGpu, 3e12) > 2.0 * 512.0 * 50304.0 * 1600.0);
        assert_eq!(after(DiscreteGpu, 1e10), FIRST_DISCRETE);
        assert_eq!(after(IntegratedGpu, 3e12), FIRST_DISCRETE);
        assert_eq!(after(IntegratedGpu, 1e10), 0.5 * 8.0 * 1e10 * SECONDS);
        assert_eq!(after(IntegratedGpu, 1e6), FIRST);
    }

    /// While the host compiles kernels it does not look: the head's product of gpt2 stays one step.
    #[test]
    fn a_host_that_compiles_changes_nothing() {
        const PRODUCT: f64 = 2.0 * 512.0 * 50304.0 * 768.0;
        for speed in [2e10, 3e13] {
            let mut pace = Pace::of(wgpu::DeviceType::DiscreteGpu);
            let mut now = -20.0;
            for _ in 0..20 {
                pace.submitted(now, 1e9);
                pace.disturbed();
                now += 0.7; // the device took a millisecond of it
                pace.finished(now, 1);
            }
            assert!(pace.limit() >= PRODUCT, "{:e}", pace.limit());
            assert_eq!(pace.measured(), None);
            // Later the limit follows the device.
            let took = simulate(&mut pace, 60.0 * speed, |_| speed, (3, 1e-4));
            for &seconds in &took[took.len() / 2..took.len() - 1] {
                assert!(
                    (0.2 * SECONDS..1.5 * SECONDS).contains(&seconds),
                    "{seconds} s"
                );
            }
        }
    }

    /// A device that is as fast as when the limit was kept does whole products at once; one that is ten times slower
    /// is not taken for hung.
    #[test]
    fn a_kept_limit_is_where_a_run_begins() {
        for slower in [1.0, 10.0] {
            let kept = Some(SECONDS * 1e12);
            let mut pace = Pace::starting_at(FIRST).with_kept(kept);
            assert_eq!(pace.limit(), 0.5 * SECONDS * 1e12);
            let speed = 1e12 / slower;
            let took = simulate(&mut pace, 60.0 * speed, |_| speed, (3, 1e-3));
            let longest = took.iter().fold(0.0, |a: f64, &b| a.max(b));
            assert!(longest < 1.0, "{longest} s");
        }
        for nothing in [
            None,
            Some(1e3),
            Some(-1.0),
            Some(f64::NAN),
            Some(f64::INFINITY),
        ] {
            assert_eq!(Pace::starting_at(FIRST).with_kept(nothing).limit(), FIRST);
        }
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
