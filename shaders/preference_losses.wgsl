// The losses of preference pairs: from a pair's sums to its loss, and to the loss's slope with respect to the
// log-probs of each side. src/ops/preference/losses.rs names each loss's source, and has its twin.
// step_control_struct.wgsl and preference.wgsl go before this text.

// The largest relative error of `-log σ` and of σ is 1e-6, down to the smallest normal f32; below that they may be 0.
struct Logistic {
    above: f32,    // σ(z)
    below: f32,    // σ(-z)
    loss: f32,     // -log σ(z)
    flipped: f32,  // -log σ(-z)
}

// Nothing overflows for any z.
fn logistic(z: f32) -> Logistic {
    let e = exp_of_minus(abs(z));
    let log = log_1p(e);
    let both = 1.0 + e;
    return Logistic(
        select(e, 1.0, z > 0.0) / both,
        select(1.0, e, z > 0.0) / both,
        max(-z, 0.0) + log,
        max(z, 0.0) + log,
    );
}

// e^-x for x ≥ -80, of any sign.
fn exp_of_either(x: f32) -> f32 {
    return select(exp_of_minus(x), 1.0 / exp_of_minus(-x), x < 0.0);
}

// 1 - e^-x. Near 0, where the difference loses its digits, it is the series.
fn one_minus_exp(x: f32) -> f32 {
    if abs(x) >= 0.5 {
        return 1.0 - exp_of_either(x);
    }
    var series = 1.0;
    for (var k = 9.0; k > 1.0; k -= 1.0) {
        series = 1.0 - x / k * series;
    }
    return x * series;
}

// log(1 - e^m) of a mean log-prob m < 0. The argument of `log` is at least 2.
fn log_of_rest(m: f32) -> f32 {
    let rest = one_minus_exp(-m);
    return select(-log_1p((1.0 - rest) / rest), -log(1.0 / rest), rest < 0.5);
}

// The greatest exponent, as TRL's for f32: e^80 is 5e34.
const MAX_EXPONENT: f32 = 80.0;

// The score of a gain g under a divergence: f'(e^g), and its derivative with respect to g.
struct Score {
    value: f32,
    slope: f32,
}

fn score(gain: f32) -> Score {
    if params.is_js != 0u {
        // log 2σ(g), from log 2σ(|g|) = log(1 + h / (1 - h)) with h = (1 - e^-|g|) / 2
        let half = 0.5 * one_minus_exp(abs(gain));
        return Score(min(gain, 0.0) + log_1p(half / (1.0 - half)), logistic(gain).below);
    }
    if params.alpha_less_1 == 0.0 {
        return Score(gain, 1.0);
    }
    // (e^((α-1)g) - 1) / (α-1)
    let exponent = params.alpha_less_1 * gain;
    let bounded = min(exponent, MAX_EXPONENT);
    let value = -one_minus_exp(-bounded) / params.alpha_less_1;
    return Score(value, select(0.0, exp_of_either(-bounded), exponent <= MAX_EXPONENT));
}

// A pair under the run's settings.
struct Scored {
    z: f32,            // β · (chosen score - rejected score)
    chosen: Score,
    rejected: Score,
}

fn through_gains(loss: f32, chosen: f32, rejected: f32) -> PairLoss {
    return PairLoss(loss, chosen, rejected, 0.0, 0.0);
}

// A loss of z, whose derivative is `slope`.
fn of_margin(p: Scored, loss: f32, slope: f32) -> PairLoss {
    let each = params.beta * slope * params.weight;
    return through_gains(loss, each * p.chosen.slope, -each * p.rejected.slope);
}

// A loss of the two rewards, whose derivatives these are.
fn of_rewards(loss: f32, chosen: f32, rejected: f32) -> PairLoss {
    return through_gains(loss, params.beta * chosen * params.weight, params.beta * rejected * params.weight);
}

// By what a response's gain, or its score, is divided for a mean over its tokens.
fn tokens(count: f32) -> f32 {
    return select(max(count, 1.0), 1.0, params.average != 0u);
}

// A loss of the mean score of a chosen token less that of a rejected one, whose derivative is `slope`.
fn of_mean_scores(s: Sums, p: Scored, loss: f32, slope: f32) -> PairLoss {
    let each = slope * params.weight;
    let chosen = each / tokens(s.chosen_len) * p.chosen.slope;
    return through_gains(loss, chosen, -(each / tokens(s.rejected_len)) * p.rejected.slope);
}

fn mean_scores(s: Sums, p: Scored) -> f32 {
    return p.chosen.value / tokens(s.chosen_len) - p.rejected.value / tokens(s.rejected_len);
}

// A loss of the mean log-probs of a chosen and of a rejected token, whose derivatives these are.
fn of_mean_logps(s: Sums, loss: f32, chosen: f32, rejected: f32) -> PairLoss {
    let chosen_token = chosen * params.weight / max(s.chosen_len, 1.0);
    return PairLoss(loss, 0.0, 0.0, chosen_token, rejected * params.weight / max(s.rejected_len, 1.0));
}

// -log σ(z) and its derivative, with a share of labels that may be wrong.
struct Smoothed {
    loss: f32,
    slope: f32,
}

fn smoothed(z: f32) -> Smoothed {
    let l = logistic(z);
    if params.label_smoothing == 0.0 {
        return Smoothed(l.loss, -l.below);
    }
    let kept = 1.0 - params.label_smoothing;
    let loss = kept * l.loss + params.label_smoothing * l.flipped;
    return Smoothed(loss, params.label_smoothing * l.above - kept * l.below);
}

fn sigmoid(p: Scored) -> PairLoss {
    let l = smoothed(p.z);
    return of_margin(p, l.loss, l.slope);
}

fn robust(p: Scored) -> PairLoss {
    let l = logistic(p.z);
    let kept = 1.0 - params.label_smoothing;
    let scale = 1.0 / (1.0 - 2.0 * params.label_smoothing);
    let loss = scale * (kept * l.loss - params.label_smoothing * l.flipped);
    return of_margin(p, loss, -(scale * (kept * l.below + params.label_smoothing * l.above)));
}

fn hinge(p: Scored) -> PairLoss {
    return of_margin(p, max(1.0 - p.z, 0.0), select(0.0, -1.0, p.z < 1.0));
}

fn ipo(s: Sums, p: Scored) -> PairLoss {
    let off = mean_scores(s, p) - 0.5 / params.beta;
    return of_mean_scores(s, p, off * off, 2.0 * off);
}

fn sigmoid_norm(s: Sums, p: Scored) -> PairLoss {
    let l = logistic(params.beta * mean_scores(s, p));
    return of_mean_scores(s, p, l.loss, -(params.beta * l.below));
}

fn exo_pair(p: Scored) -> PairLoss {
    let z = p.z;
    let l = logistic(z);
    let loss = l.above * (-l.loss - params.log_kept) + l.below * (-l.flipped - params.log_smoothing);
    return of_margin(p, loss, l.above * l.below * (z - (params.log_kept - params.log_smoothing)));
}

fn nca_pair(chosen: f32, rejected: f32) -> PairLoss {
    let c = logistic(chosen);
    let r = logistic(rejected);
    let loss = c.loss + 0.5 * c.flipped + 0.5 * r.flipped;
    return of_rewards(loss, 0.5 * c.above - c.below, 0.5 * r.above);
}

fn bco_pair(chosen: f32, rejected: f32) -> PairLoss {
    let c = logistic(chosen);
    let r = logistic(rejected);
    return of_rewards(c.loss + r.flipped, -c.below, r.above);
}

fn sppo_hard(s: Sums) -> PairLoss {
    let chosen = s.chosen_gain - 0.5 / params.beta;
    let rejected = s.rejected_gain + 0.5 / params.beta;
    let loss = chosen * chosen + rejected * rejected;
    return through_gains(loss, 2.0 * chosen * params.weight, 2.0 * rejected * params.weight);
}

fn apo_zero(chosen: f32, rejected: f32) -> PairLoss {
    let c = logistic(chosen);
    let r = logistic(rejected);
    return of_rewards(c.below + r.above, -(c.above * c.below), r.above * r.below);
}

fn apo_down(p: Scored, chosen: f32) -> PairLoss {
    let c = logistic(chosen);
    let l = logistic(p.z);
    let apart = l.above * l.below;
    return of_rewards(c.above + l.below, c.above * c.below - apart, apart);
}

// The share m = σ(z/τ) of e^-z, and 1 - m of -log σ(z).
fn discopop(p: Scored) -> PairLoss {
    let z = p.z;
    let l = logistic(z);
    let m = logistic(z / params.discopop_tau);
    // m · e^-z: for z < 0, where e^-z may overflow, it is (1 - m) · e^(z/τ - z).
    let steep = exp_of_minus(abs(z) * select(1.0 / params.discopop_tau - 1.0, 1.0, z >= 0.0));
    let exponential = steep * select(m.below, m.above, z >= 0.0);
    let loss = l.loss * m.below + exponential;
    let blend = (exponential * m.below - l.loss * m.above * m.below) / params.discopop_tau;
    return of_margin(p, loss, blend - l.below * m.below - exponential);
}

// DPO, with a penalty where the chosen response loses likelihood.
fn dpop(p: Scored, gain: f32) -> PairLoss {
    let l = logistic(p.z - params.beta * params.dpop_lambda * max(-gain, 0.0));
    let each = params.beta * -l.below * params.weight;
    return through_gains(l.loss, each * select(1.0, 1.0 + params.dpop_lambda, gain < 0.0), -each);
}

// The policy's margins against the reference's, both sorted over the step.
fn aot(p: Scored, pair: Pair) -> PairLoss {
    let l = smoothed(p.z + params.beta * pair.reference_shift);
    return of_margin(p, l.loss, l.slope);
}

// The chosen gains against the rejected ones, both sorted over the step.
fn aot_unpaired(s: Sums, pair: Pair) -> PairLoss {
    let chosen = smoothed(params.beta * (s.chosen_gain - pair.chosen_rival));
    let rejected = smoothed(params.beta * (pair.rejected_rival - s.rejected_gain));
    return of_rewards(chosen.loss, chosen.slope, -rejected.slope);
}

fn mean_logp(logp: f32, count: f32) -> f32 {
    return logp / max(count, 1.0);
}

fn simpo(s: Sums) -> PairLoss {
    let apart = mean_logp(s.chosen_logp, s.chosen_len) - mean_logp(s.rejected_logp, s.rejected_len);
    let l = smoothed(params.beta * apart - params.simpo_gamma);
    let each = params.beta * l.slope;
    return of_mean_logps(s, l.loss, each, -each);
}

// The odds of a response, on the scale of logs, and their derivative with respect to its mean log-prob.
struct Odds {
    log: f32,
    slope: f32,
}

// At log-prob 0 the odds are infinite, so a mean log-prob counts as at most this.
const MAX_MEAN_LOGP: f32 = -1e-7;

fn odds(logp: f32, count: f32) -> Odds {
    let m = min(mean_logp(logp, count), MAX_MEAN_LOGP);
    return Odds(m - log_of_rest(m), 1.0 / one_minus_exp(-m));
}

fn orpo(s: Sums) -> PairLoss {
    let chosen = odds(s.chosen_logp, s.chosen_len);
    let rejected = odds(s.rejected_logp, s.rejected_len);
    let l = logistic(chosen.log - rejected.log);
    let each = params.beta * l.below;
    let loss = params.beta * l.loss - mean_logp(s.chosen_logp, s.chosen_len);
    return of_mean_logps(s, loss, -1.0 - each * chosen.slope, each * rejected.slope);
}

// Supervised fine-tuning: the mean over pairs of this is the mean negative log-prob of all chosen tokens.
fn sft(s: Sums) -> PairLoss {
    let pairs_per_token = params.token_weight / params.weight;
    return PairLoss(-s.chosen_logp * pairs_per_token, 0.0, 0.0, -params.token_weight, 0.0);
}

fn plus(sum: PairLoss, weight: f32, loss: PairLoss) -> PairLoss {
    return PairLoss(
        sum.loss + weight * loss.loss,
        sum.chosen_slope + weight * loss.chosen_slope,
        sum.rejected_slope + weight * loss.rejected_slope,
        sum.chosen_token + weight * loss.chosen_token,
        sum.rejected_token + weight * loss.rejected_token,
    );
}

// The weighted sum of the run's losses.
fn pair_loss(s: Sums, pair: Pair) -> PairLoss {
    let chosen = params.beta * s.chosen_gain;
    let rejected = params.beta * s.rejected_gain;
    let chosen_score = score(s.chosen_gain);
    let rejected_score = score(s.rejected_gain);
    let z = params.beta * (chosen_score.value - rejected_score.value);
    let p = Scored(z, chosen_score, rejected_score);
    // A comparison with NaN is false, so that a branch below would make a number of it.
    let logps = s.chosen_logp + s.rejected_logp;
    if is_nan(chosen) || is_nan(rejected) || is_nan(z) || is_nan(logps) {
        let nan = chosen + rejected + z + logps;
        return PairLoss(nan, nan, nan, nan, nan);
    }
    var sum = PairLoss(0.0, 0.0, 0.0, 0.0, 0.0);
    if params.sigmoid != 0.0 {
        sum = plus(sum, params.sigmoid, sigmoid(p));
    }
    if params.hinge != 0.0 {
        sum = plus(sum, params.hinge, hinge(p));
    }
    if params.ipo != 0.0 {
        sum = plus(sum, params.ipo, ipo(s, p));
    }
    if params.robust != 0.0 {
        sum = plus(sum, params.robust, robust(p));
    }
    if params.exo_pair != 0.0 {
        sum = plus(sum, params.exo_pair, exo_pair(p));
    }
    if params.nca_pair != 0.0 {
        sum = plus(sum, params.nca_pair, nca_pair(chosen, rejected));
    }
    if params.bco_pair != 0.0 {
        sum = plus(sum, params.bco_pair, bco_pair(chosen, rejected));
    }
    if params.sppo_hard != 0.0 {
        sum = plus(sum, params.sppo_hard, sppo_hard(s));
    }
    if params.apo_zero != 0.0 {
        sum = plus(sum, params.apo_zero, apo_zero(chosen, rejected));
    }
    if params.apo_down != 0.0 {
        sum = plus(sum, params.apo_down, apo_down(p, chosen));
    }
    if params.discopop != 0.0 {
        sum = plus(sum, params.discopop, discopop(p));
    }
    if params.sigmoid_norm != 0.0 {
        sum = plus(sum, params.sigmoid_norm, sigmoid_norm(s, p));
    }
    if params.dpop != 0.0 {
        sum = plus(sum, params.dpop, dpop(p, s.chosen_gain));
    }
    if params.aot != 0.0 {
        sum = plus(sum, params.aot, aot(p, pair));
    }
    if params.aot_unpaired != 0.0 {
        sum = plus(sum, params.aot_unpaired, aot_unpaired(s, pair));
    }
    if params.simpo != 0.0 {
        sum = plus(sum, params.simpo, simpo(s));
    }
    if params.orpo != 0.0 {
        sum = plus(sum, params.orpo, orpo(s));
    }
    if params.sft != 0.0 {
        sum = plus(sum, params.sft, sft(s));
    }
    return PairLoss(
        pair.weight * sum.loss,
        pair.weight * sum.chosen_slope,
        pair.weight * sum.rejected_slope,
        pair.weight * sum.chosen_token,
        pair.weight * sum.rejected_token,
    );
}
