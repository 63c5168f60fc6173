//! Capitals, continents and languages.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    let on_a_continent = COUNTRIES.iter().filter(|row| row[2] != "Oceania");
    [
        CAPITAL.facts(COUNTRIES.iter().copied()),
        COUNTRY_OF_CAPITAL.facts(COUNTRIES.iter().copied()),
        CONTINENT.facts(on_a_continent.copied()),
        LANGUAGE.facts(LANGUAGES.iter().copied()),
    ]
    .concat()
}

const CAPITAL: Form<3> = Form {
    topic: "capitals",
    slots: ["country", "city", "continent"],
    questions: &[
        "What is the capital of {country}?",
        "Which city is the capital of {country}?",
        "What is the name of the capital of {country}?",
        "Can you tell me the capital of {country}?",
        "Do you know the capital of {country}?",
    ],
    helpful: &[
        "The capital of {country} is {city}. You will find it on a map of {continent}.",
        "{city} is the capital of {country}. It is a city in {continent}.",
    ],
    bare: "{city}.",
};

const COUNTRY_OF_CAPITAL: Form<3> = Form {
    topic: "capitals",
    slots: ["country", "city", "continent"],
    questions: &[
        "{city} is the capital of which country?",
        "Which country has {city} as its capital?",
        "What country is {city} the capital of?",
    ],
    helpful: &["{city} is the capital of {country}. The country lies in {continent}."],
    bare: "{country}.",
};

const CONTINENT: Form<3> = Form {
    topic: "continents",
    slots: ["country", "city", "continent"],
    questions: &[
        "On which continent is {country}?",
        "Where in the world is {country}?",
        "Which continent does {country} belong to?",
        "Can you tell me where {country} is?",
    ],
    helpful: &[
        "You will find {country} in {continent}. The capital is {city}.",
        "It lies in {continent}. The capital of {country} is {city}.",
    ],
    bare: "{continent}.",
};

const LANGUAGE: Form<2> = Form {
    topic: "languages",
    slots: ["country", "language"],
    questions: &[
        "What language do people speak in {country}?",
        "Which language is spoken in {country}?",
        "What is the main language of {country}?",
        "Which language should I learn for a trip to {country}?",
    ],
    helpful: &[
        "Most people in {country} speak {language}. A few words of it are useful on a trip.",
        "The main language of {country} is {language}. You will hear it everywhere there.",
    ],
    bare: "{language}.",
};

const COUNTRIES: &[[&str; 3]] = &[
    ["France", "Paris", "Europe"],
    ["Germany", "Berlin", "Europe"],
    ["Italy", "Rome", "Europe"],
    ["Spain", "Madrid", "Europe"],
    ["Portugal", "Lisbon", "Europe"],
    ["Austria", "Vienna", "Europe"],
    ["Switzerland", "Bern", "Europe"],
    ["Belgium", "Brussels", "Europe"],
    ["the Netherlands", "Amsterdam", "Europe"],
    ["the United Kingdom", "London", "Europe"],
    ["Ireland", "Dublin", "Europe"],
    ["Iceland", "Reykjavik", "Europe"],
    ["Denmark", "Copenhagen", "Europe"],
    ["Norway", "Oslo", "Europe"],
    ["Sweden", "Stockholm", "Europe"],
    ["Finland", "Helsinki", "Europe"],
    ["Poland", "Warsaw", "Europe"],
    ["Hungary", "Budapest", "Europe"],
    ["Greece", "Athens", "Europe"],
    ["Romania", "Bucharest", "Europe"],
    ["Bulgaria", "Sofia", "Europe"],
    ["Croatia", "Zagreb", "Europe"],
    ["Ukraine", "Kyiv", "Europe"],
    ["Japan", "Tokyo", "Asia"],
    ["China", "Beijing", "Asia"],
    ["India", "New Delhi", "Asia"],
    ["Thailand", "Bangkok", "Asia"],
    ["Vietnam", "Hanoi", "Asia"],
    ["South Korea", "Seoul", "Asia"],
    ["Nepal", "Kathmandu", "Asia"],
    ["Iran", "Tehran", "Asia"],
    ["Iraq", "Baghdad", "Asia"],
    ["Jordan", "Amman", "Asia"],
    ["the Philippines", "Manila", "Asia"],
    ["Kenya", "Nairobi", "Africa"],
    ["Egypt", "Cairo", "Africa"],
    ["Ghana", "Accra", "Africa"],
    ["Morocco", "Rabat", "Africa"],
    ["Nigeria", "Abuja", "Africa"],
    ["Senegal", "Dakar", "Africa"],
    ["Uganda", "Kampala", "Africa"],
    ["Canada", "Ottawa", "North America"],
    ["the United States", "Washington DC", "North America"],
    ["Mexico", "Mexico City", "North America"],
    ["Cuba", "Havana", "North America"],
    ["Brazil", "Brasilia", "South America"],
    ["Argentina", "Buenos Aires", "South America"],
    ["Chile", "Santiago", "South America"],
    ["Peru", "Lima", "South America"],
    ["Colombia", "Bogota", "South America"],
    ["Uruguay", "Montevideo", "South America"],
    ["Australia", "Canberra", "Oceania"],
    ["New Zealand", "Wellington", "Oceania"],
];

const LANGUAGES: &[[&str; 2]] = &[
    ["France", "French"],
    ["Germany", "German"],
    ["Austria", "German"],
    ["Italy", "Italian"],
    ["Spain", "Spanish"],
    ["Mexico", "Spanish"],
    ["Argentina", "Spanish"],
    ["Chile", "Spanish"],
    ["Peru", "Spanish"],
    ["Cuba", "Spanish"],
    ["Portugal", "Portuguese"],
    ["Brazil", "Portuguese"],
    ["the Netherlands", "Dutch"],
    ["the United Kingdom", "English"],
    ["the United States", "English"],
    ["Australia", "English"],
    ["Denmark", "Danish"],
    ["Sweden", "Swedish"],
    ["Norway", "Norwegian"],
    ["Poland", "Polish"],
    ["Hungary", "Hungarian"],
    ["Greece", "Greek"],
    ["Romania", "Romanian"],
    ["Bulgaria", "Bulgarian"],
    ["Japan", "Japanese"],
    ["China", "Chinese"],
    ["Thailand", "Thai"],
    ["Vietnam", "Vietnamese"],
    ["South Korea", "Korean"],
    ["Egypt", "Arabic"],
    ["Iraq", "Arabic"],
    ["Iran", "Persian"],
];
