//! Facts: things to know, the ways to ask for each, and what one may answer.

/// One thing to know. Every question asks for it, and every answer fits every question.
#[derive(Debug, Clone)]
pub struct Fact {
    pub topic: &'static str,
    pub questions: Vec<String>,
    /// Full sentences that state the answer and a little more.
    pub helpful: Vec<String>,
    /// The correct answer and not a word more.
    pub bare: String,
    /// Short answers that say nothing at all.
    pub refusals: &'static [&'static str],
}

/// Refusals of a question.
pub const SHRUGS: &[&str] = &[
    "Dunno.",
    "No idea.",
    "Look it up.",
    "Not now.",
    "Ask someone else.",
    "Who cares?",
    "Why do you ask?",
    "Find out yourself.",
    "I am busy.",
    "Not my job.",
    "Whatever.",
    "I would rather not say.",
];

/// The sentences that a table of facts is poured into.
///
/// `{slot}` stands for the row's value, `{a slot}` for the value behind "a" or "an". Sentences get
/// their capital letter by themselves.
pub struct Form<const N: usize> {
    pub topic: &'static str,
    pub slots: [&'static str; N],
    pub questions: &'static [&'static str],
    pub helpful: &'static [&'static str],
    pub bare: &'static str,
}

impl<const N: usize> Form<N> {
    /// One fact for each row; a row has one value for each slot.
    pub fn facts<S: AsRef<str>>(&self, rows: impl IntoIterator<Item = [S; N]>) -> Vec<Fact> {
        rows.into_iter()
            .map(|row| {
                let fill = |template: &&str| self.fill(template, &row);
                Fact {
                    topic: self.topic,
                    questions: self.questions.iter().map(fill).collect(),
                    helpful: self.helpful.iter().map(fill).collect(),
                    bare: fill(&self.bare),
                    refusals: SHRUGS,
                }
            })
            .collect()
    }

    fn fill<S: AsRef<str>>(&self, template: &str, row: &[S; N]) -> String {
        let mut text = template.to_owned();
        for (slot, value) in self.slots.iter().zip(row) {
            let value = value.as_ref();
            text = text
                .replace(&format!("{{a {slot}}}"), &with_article(value))
                .replace(&format!("{{{slot}}}"), value);
        }
        capitalize_sentences(&text)
    }
}

/// "a cow", "an owl": by the letter, which is right for every word of the tables.
pub fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

fn capitalize_sentences(text: &str) -> String {
    let mut capitalized = String::with_capacity(text.len());
    let mut at_start = true;
    let mut after_mark = false;
    for letter in text.chars() {
        at_start |= after_mark && letter == ' ';
        after_mark = matches!(letter, '.' | '!' | '?');
        if at_start && letter != ' ' {
            capitalized.push(letter.to_ascii_uppercase());
            at_start = false;
        } else {
            capitalized.push(letter);
        }
    }
    capitalized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_fills_its_slots_and_minds_articles_and_capitals() {
        let form = Form {
            topic: "sounds",
            slots: ["animal", "sound"],
            questions: &["what does {a animal} say?"],
            helpful: &["{a animal} says {sound}. {animal} and {sound} go together!"],
            bare: "{sound}.",
        };
        let facts = form.facts([["owl", "hoot"], ["cow", "moo"]]);
        assert_eq!(facts[0].questions, ["What does an owl say?"]);
        assert_eq!(
            facts[1].helpful,
            ["A cow says moo. Cow and moo go together!"]
        );
        assert_eq!(facts[1].bare, "Moo.");
    }
}
