//! What a record's loss counts.

use super::*;

#[test]
fn a_weight_is_read_from_its_column() {
    for (weight, read) in [
        (json!(2), Some(2.0)),
        (json!(0), Some(0.0)),
        (json!(" 0.25 "), Some(0.25)),
        (json!(null), None),
    ] {
        let record = json!({"prompt": "a", "chosen": "b", "rejected": "c", "weight": weight});
        assert_eq!(super::read(record).weight, read);
    }
    assert_eq!(
        super::read(json!({"prompt": "a", "chosen": "b", "rejected": "c"})).weight,
        None
    );
    let ids = json!({"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "weight": 0.5});
    assert_eq!(super::read(ids).weight, Some(0.5));
}

#[test]
fn another_column_or_none() {
    let record = json!({"prompt": "a", "chosen": "b", "rejected": "c", "w": 3, "weight": "x"});
    let reading = |columns: &str| Reading {
        columns: Columns::parse(columns).unwrap(),
        ..Reading::default()
    };
    let read = |columns: &str| Record::read(record.clone(), &reading(columns)).unwrap();
    assert_eq!(read("weight=w").weight, Some(3.0));
    assert_eq!(read("weight=").weight, None);
}

#[test]
fn what_is_no_weight_is_refused() {
    for weight in [json!(-1), json!("x"), json!([1]), json!(1e39), json!(true)] {
        let record = json!({"prompt": "a", "chosen": "b", "rejected": "c", "weight": weight});
        let problem = problem(record);
        assert!(problem.what.contains("`weight` is"), "{problem:?}");
        assert!(problem.help.contains("weight="), "{problem:?}");
    }
}

/// A labelled answer is half a pair.
#[test]
fn a_labelled_answer_has_none() {
    let record = json!({"prompt": "a", "completion": "b", "label": true, "weight": 2});
    let read = super::read(record);
    assert_eq!(read.weight, None);
    assert!(read.ignored.contains(&"weight".to_owned()), "{read:?}");
}
