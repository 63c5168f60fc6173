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

// A loss of z = β · (chosen gain - rejected gain), whose derivative is `slope`.
fn of_margin(loss: f32, slope: f32) -> PairLoss {
    let each = params.beta * slope * params.weight;
    return PairLoss(loss, each, -each);
}

// A loss of the two rewards, whose derivatives these are.
fn of_rewards(loss: f32, chosen: f32, rejected: f32) -> PairLoss {
    return PairLoss(loss, params.beta * chosen * params.weight, params.beta * rejected * params.weight);
}

// A loss of the mean gain of a chosen token less that of a rejected one, whose derivative is `slope`.
fn of_mean_gains(s: Sums, loss: f32, slope: f32) -> PairLoss {
    let each = slope * params.weight;
    return PairLoss(loss, each / max(s.chosen_len, 1.0), -(each / max(s.rejected_len, 1.0)));
}

fn mean_gains(s: Sums) -> f32 {
    return s.chosen_gain / max(s.chosen_len, 1.0) - s.rejected_gain / max(s.rejected_len, 1.0);
}

// DPO, with a share of labels that may be wrong.
fn sigmoid(z: f32) -> PairLoss {
    let l = logistic(z);
    if params.label_smoothing == 0.0 {
        return of_margin(l.loss, -l.below);
    }
    let kept = 1.0 - params.label_smoothing;
    let loss = kept * l.loss + params.label_smoothing * l.flipped;
    return of_margin(loss, params.label_smoothing * l.above - kept * l.below);
}

fn robust(z: f32) -> PairLoss {
    let l = logistic(z);
    let kept = 1.0 - params.label_smoothing;
    let scale = 1.0 / (1.0 - 2.0 * params.label_smoothing);
    let loss = scale * (kept * l.loss - params.label_smoothing * l.flipped);
    return of_margin(loss, -(scale * (kept * l.below + params.label_smoothing * l.above)));
}

fn hinge(z: f32) -> PairLoss {
    return of_margin(max(1.0 - z, 0.0), select(0.0, -1.0, z < 1.0));
}

fn ipo(s: Sums) -> PairLoss {
    let off = mean_gains(s) - 0.5 / params.beta;
    return of_mean_gains(s, off * off, 2.0 * off);
}

fn sigmoid_norm(s: Sums) -> PairLoss {
    let l = logistic(params.beta * mean_gains(s));
    return of_mean_gains(s, l.loss, -(params.beta * l.below));
}

fn exo_pair(z: f32) -> PairLoss {
    let l = logistic(z);
    let loss = l.above * (-l.loss - params.log_kept) + l.below * (-l.flipped - params.log_smoothing);
    return of_margin(loss, l.above * l.below * (z - (params.log_kept - params.log_smoothing)));
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
    return PairLoss(loss, 2.0 * chosen * params.weight, 2.0 * rejected * params.weight);
}

fn apo_zero(chosen: f32, rejected: f32) -> PairLoss {
    let c = logistic(chosen);
    let r = logistic(rejected);
    return of_rewards(c.below + r.above, -(c.above * c.below), r.above * r.below);
}

fn apo_down(z: f32, chosen: f32) -> PairLoss {
    let c = logistic(chosen);
    let l = logistic(z);
    let apart = l.above * l.below;
    return of_rewards(c.above + l.below, c.above * c.below - apart, apart);
}

// The share m = σ(z/τ) of e^-z, and 1 - m of -log σ(z).
fn discopop(z: f32) -> PairLoss {
    let l = logistic(z);
    let m = logistic(z / params.discopop_tau);
    // m · e^-z: for z < 0, where e^-z may overflow, it is (1 - m) · e^(z/τ - z).
    let steep = exp_of_minus(abs(z) * select(1.0 / params.discopop_tau - 1.0, 1.0, z >= 0.0));
    let exponential = steep * select(m.below, m.above, z >= 0.0);
    let loss = l.loss * m.below + exponential;
    let blend = (exponential * m.below - l.loss * m.above * m.below) / params.discopop_tau;
    return of_margin(loss, blend - l.below * m.below - exponential);
}

// Supervised fine-tuning: the mean over pairs of this is the mean negative log-prob of all chosen tokens.
fn sft(s: Sums) -> PairLoss {
    let pairs_per_token = params.token_weight / params.weight;
    return PairLoss(-s.chosen_logp * pairs_per_token, -params.token_weight, 0.0);
}

fn plus(sum: PairLoss, weight: f32, loss: PairLoss) -> PairLoss {
    return PairLoss(
        sum.loss + weight * loss.loss,
        sum.chosen_slope + weight * loss.chosen_slope,
        sum.rejected_slope + weight * loss.rejected_slope,
    );
}

// The weighted sum of the run's losses.
fn pair_loss(s: Sums) -> PairLoss {
    let z = params.beta * (s.chosen_gain - s.rejected_gain);
    let chosen = params.beta * s.chosen_gain;
    let rejected = params.beta * s.rejected_gain;
    // A comparison with NaN is false, so that a branch above would make a number of it.
    if is_nan(z) || is_nan(chosen) || is_nan(rejected) {
        let nan = z + chosen + rejected;
        return PairLoss(nan, nan, nan);
    }
    var sum = PairLoss(0.0, 0.0, 0.0);
    if params.sigmoid != 0.0 {
        sum = plus(sum, params.sigmoid, sigmoid(z));
    }
    if params.hinge != 0.0 {
        sum = plus(sum, params.hinge, hinge(z));
    }
    if params.ipo != 0.0 {
        sum = plus(sum, params.ipo, ipo(s));
    }
    if params.robust != 0.0 {
        sum = plus(sum, params.robust, robust(z));
    }
    if params.exo_pair != 0.0 {
        sum = plus(sum, params.exo_pair, exo_pair(z));
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
        sum = plus(sum, params.apo_down, apo_down(z, chosen));
    }
    if params.discopop != 0.0 {
        sum = plus(sum, params.discopop, discopop(z));
    }
    if params.sigmoid_norm != 0.0 {
        sum = plus(sum, params.sigmoid_norm, sigmoid_norm(s));
    }
    if params.sft != 0.0 {
        sum = plus(sum, params.sft, sft(s));
    }
    return sum;
}
