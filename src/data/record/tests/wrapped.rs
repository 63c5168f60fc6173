//! Objects that hold the records of a whole file.

use super::*;

#[test]
fn one_object_with_all_records_is_told() {
    for (value, expected) in [
        (
            json!({"version": 1, "data": [text(), text()]}),
            "the record is one object whose `data` is a list of 2 objects",
        ),
        (
            json!({"train": [text(), text()], "test": [text()]}),
            "the record is one object whose `train` and `test` are lists of 2 and 1 objects",
        ),
        (
            json!({"schema": {"fields": []}, "data": [with(text(), json!({"index": 0}))]}),
            "the record is one object whose `data` is a list of one object",
        ),
        (
            json!({"columns": ["prompt"], "index": [0], "data": [["p"]]}),
            "the record is a whole table, split into its `columns` and `data`",
        ),
        (
            json!({"prompt": {"0": "p"}, "chosen": {"0": "c"}, "rejected": {"0": "r"}}),
            "the record is a whole table: the numbers of its rows are keys",
        ),
        (
            json!({"0": text(), "1": text()}),
            "the record is a whole table: the numbers of its rows are keys",
        ),
    ] {
        let problem = problem(value);
        assert_eq!(problem.what, expected);
        assert!(
            problem.help.contains("one object a line"),
            "{}",
            problem.help
        );
    }
    let what = error(json!({"posts": [{"id": 1}]}));
    assert_eq!(what, "a preference record without `chosen` and `rejected`");
    // With `columns`, lists under any key may be part of a record.
    let reading = Reading {
        columns: Columns::parse("prompt=a.0.prompt,chosen=a.0.chosen,rejected=a.0.rejected")
            .unwrap(),
        ..Reading::default()
    };
    assert!(Record::read(json!({"a": [text()]}), &reading).is_ok());
}
