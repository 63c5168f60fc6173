//! `train --profile`: the same run with a table and a trace.

use serde_json::Value;

use crate::sandbox::{GPU, Sandbox, without_speeds};

#[test]
fn a_profiled_run_is_the_same_run() {
    let sandbox = Sandbox::new();
    for device in ["cpu", GPU] {
        let run = |out: &str, options: &str| {
            let out = format!("{device}-{out}");
            let options = format!(
                "--data d.jsonl --eval-data e.jsonl --batch-size 2 --learning-rate 1e-3 \
                 --device {device} --out {out} {options}"
            );
            let ran = sandbox.train(&options).ok();
            let weights = sandbox.read(&format!("{out}/model.safetensors"));
            (ran, weights, without_speeds(sandbox.metrics(&out)))
        };
        let plain = run("plain", "--gradient-accumulation-steps 1");
        let profiled = run("profiled", "--gradient-accumulation-steps 1 --profile");
        assert!(plain.1 == profiled.1, "other weights on {device}");
        assert_eq!(plain.2, profiled.2);
        assert!(!sandbox.exists(&format!("{device}-plain/trace.json")));

        let table = profiled.0.stdout;
        for text in ["calls", "GFLOP/s", "of ceiling", "trace.json", "slower"] {
            assert!(table.contains(text), "no {text}:\n{table}");
        }
        let trace = sandbox.read(&format!("{device}-profiled/trace.json"));
        check_trace(&serde_json::from_slice(&trace).unwrap());
    }
}

/// The events are complete, follow one another, and have the names of the table.
#[track_caller]
fn check_trace(trace: &Value) {
    let events = trace["traceEvents"].as_array().unwrap();
    let steps: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    let count = |name: &str| {
        let named = |e: &&&Value| e["name"].as_str().unwrap().starts_with(name);
        steps.iter().filter(named).count()
    };
    assert_eq!(count("step_control/advance"), 3, "one a step");
    assert_eq!(count("preference/backward"), 3, "one a micro-batch");
    let mut end = 0.0;
    for event in steps {
        let [ts, dur] = ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
        assert!(ts >= end - 1e-3 && dur > 0.0, "{event} after {end}");
        assert!(
            event["args"]["shape"]
                .as_str()
                .is_some_and(|s| !s.is_empty())
        );
        end = ts + dur;
    }
    let names = events.iter().filter(|e| e["ph"] == "M");
    assert_eq!(names.count(), 2, "the device and its clock");
}
