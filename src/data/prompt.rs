//! A conversation → the text of a prompt.

use super::message::{Message, Role};
use super::record::Problem;

/// The card's template: what a user message becomes, with the place for the answer behind it.
pub const DEFAULT_TEMPLATE: &str = "User: {prompt}\nAssistant: ";

/// Where the user's text goes in a template.
pub(super) const PLACEHOLDER: &str = "{prompt}";

/// The template with `user` wherever it says `{prompt}`.
pub fn fill(template: &str, user: &str) -> String {
    template.replace(PLACEHOLDER, user)
}

/// The prompt's text: the system message and a newline, if there is one; for every exchange
/// before the last the filled template, the answer and a newline; at the end the template
/// filled with the last user message.
///
/// # Errors
///
/// The messages must be an optional system message, then user and assistant in turn, the
/// user's being last; and no user message may be blank.
pub(super) fn render(messages: &[Message], template: &str) -> Result<String, Problem> {
    let turns = match messages {
        [first, rest @ ..] if first.role == Role::System => rest,
        all => all,
    };
    let expected = [Role::User, Role::Assistant].into_iter().cycle();
    let in_turn = turns.iter().zip(expected).all(|(m, role)| m.role == role);
    if !in_turn || turns.len() % 2 == 0 {
        return Err(Problem::new(
            format!("the prompt's messages are {}", roles(messages)),
            "a prompt is an optional system message, then user and assistant in turn, ending with the user",
        ));
    }
    let mut text = String::new();
    for message in messages {
        match message.role {
            Role::User if message.content.trim().is_empty() => {
                return Err(Problem::new(
                    "the prompt is empty",
                    "give the user's message some text, or remove the record",
                ));
            }
            Role::User => text.push_str(&fill(template, &message.content)),
            Role::System | Role::Assistant => {
                text.push_str(&message.content);
                text.push('\n');
            }
        }
    }
    Ok(text)
}

fn roles(messages: &[Message]) -> String {
    if messages.is_empty() {
        return "none".to_owned();
    }
    let names = messages.iter().map(|message| message.role.name());
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(messages: &[(Role, &str)]) -> Result<String, String> {
        let messages = messages.iter();
        let messages = messages.map(|&(role, content)| Message::new(role, content));
        let messages: Vec<_> = messages.collect();
        render(&messages, DEFAULT_TEMPLATE).map_err(|problem| problem.what)
    }

    use Role::{Assistant, System, User};

    #[test]
    fn one_exchange_is_the_template() {
        assert_eq!(
            rendered(&[(User, "hi ")]).unwrap(),
            "User: hi \nAssistant: "
        );
    }

    #[test]
    fn text_is_not_taken_for_a_template() {
        let text = rendered(&[(User, "a {prompt} b")]).unwrap();
        assert_eq!(text, "User: a {prompt} b\nAssistant: ");
    }

    #[test]
    fn a_conversation_is_written_out() {
        let text = rendered(&[
            (System, "Be kind."),
            (User, "hi"),
            (Assistant, "hello"),
            (User, "bye"),
        ]);
        let expected = "Be kind.\nUser: hi\nAssistant: hello\nUser: bye\nAssistant: ";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn turns_are_checked() {
        for (messages, names) in [
            (&[][..], "none"),
            (&[(System, "x")], "system"),
            (&[(User, "a"), (User, "b")], "user, user"),
            (&[(Assistant, "a"), (User, "b")], "assistant, user"),
            (&[(User, "a"), (Assistant, "b")], "user, assistant"),
            (
                &[(User, "a"), (System, "b"), (User, "c")],
                "user, system, user",
            ),
        ] {
            let error = rendered(messages).unwrap_err();
            assert_eq!(error, format!("the prompt's messages are {names}"));
        }
        assert_eq!(
            rendered(&[(User, " \n")]).unwrap_err(),
            "the prompt is empty"
        );
    }
}
