// The optimizer's state between steps. src/ops/step_control.rs mirrors it; a test compares the two.
struct StepControl {
    grad_norm: f32,    // ‖g‖ of the last step, unscaled, before clipping
    clip_factor: f32,  // factor of the gradient in the update: clips, and divides by the loss scale
    broken: f32,       // not 0: ‖g‖ is not finite, and the optimizer takes no step
    loss_scale: f32,   // factor of the loss; 1 unless it is dynamic
    good_steps: f32,   // steps taken in a row since the loss scale last changed
    taken: f32,        // steps taken in all, if the loss scale is dynamic
    step_factor: f32,  // 1 / (1 - beta1^taken), if the loss scale is dynamic; otherwise 1
    root_factor: f32,  // 1 / sqrt(1 - beta2^taken), if the loss scale is dynamic; otherwise 1
    failures: f32,     // broken steps in a row at loss scale 1
}
