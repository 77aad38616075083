//! The words that the demo's company is made of. Constants only.

/// Functions, their share of the persons, and how much longer than usual their days are.
pub const FUNCTIONS: [(&str, f64, f64); 8] = [
    ("Engineering", 0.34, 0.9),
    ("Sales", 0.22, 1.3),
    ("Operations", 0.15, 0.8),
    ("Support", 0.12, 1.0),
    ("Finance", 0.06, 1.2),
    ("Marketing", 0.06, 0.9),
    ("People", 0.03, 0.8),
    ("Legal", 0.02, 1.6),
];

/// Level and title, by the number of managers above. The first two hold nine persons together: no answer shows them.
pub const LEVELS: [(&str, &str); 6] = [
    ("L6 chief", "Chief Executive"),
    ("L5 executive", "Executive"),
    ("L4 director", "Director"),
    ("L3 manager", "Manager"),
    ("L2 senior", "Senior Specialist"),
    ("L1 associate", "Specialist"),
];

pub const COUNTRIES: [&str; 12] = ["US", "IN", "GB", "DE", "FR", "JP", "CA", "BR", "AU", "NL", "IE", "ES"];

pub const CITIES: [[&str; 2]; 12] = [
    ["Austin", "Boston"],
    ["Pune", "Chennai"],
    ["Leeds", "London"],
    ["Berlin", "Munich"],
    ["Lyon", "Paris"],
    ["Osaka", "Tokyo"],
    ["Toronto", "Montreal"],
    ["Recife", "Curitiba"],
    ["Perth", "Sydney"],
    ["Utrecht", "Rotterdam"],
    ["Cork", "Dublin"],
    ["Madrid", "Valencia"],
];

pub const GIVEN_NAMES: [&str; 24] = [
    "Ada", "Ali", "Ana", "Ben", "Chen", "Clara", "Dev", "Elif", "Emma", "Hana", "Ines", "Ivan", "Jonas", "Kofi",
    "Lena", "Luca", "Maya", "Nora", "Omar", "Priya", "Rosa", "Sami", "Tomas", "Yuki",
];

pub const FAMILY_NAMES: [&str; 24] = [
    "Abe", "Adeyemi", "Bauer", "Brown", "Costa", "Dubois", "Fischer", "Garcia", "Haddad", "Ivanov", "Jansen", "Kaya",
    "Kim", "Kumar", "Lopez", "Meyer", "Murphy", "Nguyen", "Okafor", "Rossi", "Sato", "Silva", "Singh", "Walsh",
];
