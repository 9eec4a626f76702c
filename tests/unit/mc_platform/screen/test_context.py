"""Personal data that only their context tells, and the honest text that looks like them."""

from __future__ import annotations

import random

import phonenumbers
import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
FIRST = ("Anna", "Łukasz", "Zoë", "Priya", "Ahmed", "Björn", "Siobhán", "Dmitri")
LAST = ("O'Brien", "Müller", "García", "van der Berg", "Smith-Jones", "de la Cruz", "Świątek")
ILLNESS = ("type 2 diabetes", "asthma", "HIV", "epilepsy", "breast cancer", "bipolar disorder")
STREETS = (
    "{n} Oak Street, Springfield, IL {p}",
    "{n} Church Road, Leeds LS1 4AB",
    "Lindenstraße {n}, {p} Köln",
    "Calle de Alcalá {n}, {p} Madrid",
    "{n} rue Victor Hugo, {p} Lyon",
    "ul. Długa {n}/3, 00-238 Warszawa",
    "Via Garibaldi {n}, {p} Milano",
)
DATES = ("{y}-05-17", "17/05/{y}", "17.5.{y}", "17 May {y}", "May 17, {y}", "17 de mayo de {y}")

CASES = {
    "person-name": (
        "My name is {name}.",
        "Patient: {name}",
        'full_name: "{name}"',
        "Please update the record of patient {name}, DOB 1980-02-01.",
        "Ich heiße {name} und brauche Hilfe.",
        "Me llamo {name}.",
        "Nazywam się {name}.",
        "Je m'appelle {name}.",
        "Name: {name}\nPhone: +1 202 555 0143",
        "Best regards,\n{name}\nTel: +49 30 90182000",
        "Mr. {name} called about account number 004400112.",
    ),
    "postal-address": (
        "She lives at {address}.",
        "Ship to: {name}, {address}",
        "My address is {address}",
        "{name}, {address}",
    ),
    "date-of-birth": (
        "DOB: {date}",
        "Date of birth: {date}",
        '"birth_date": "{date}"',
        "Geburtsdatum: {date}",
        "fecha de nacimiento: {date}",
        "data urodzenia {date}",
        "I was born on {date}",
        "patient id 88123, born {date}",
    ),
    "health": (
        "Patient {name} was diagnosed with {illness}.",
        "John was diagnosed with {illness}, says his manager.",
        "I was diagnosed with {illness} last year.",
        "MRN 0048812: diagnosis {illness}",
        "My husband has {illness}",
        "DOB 1980-02-01; ICD-10: E11.9",
    ),
    "biometric": (
        "fingerprint template: {hex}",
        "iris code {hex}",
        "The voiceprint of the caller is {hex}",
        "face embedding = [0.1213, -0.3391, 0.9812, 0.1170, 0.4]",
    ),
    "financial": (
        "her credit card pin is 4821",
        "bank account number {account}",
        "routing number 021000021",
        "sort code 20-00-00, account no {account}",
        "SWIFT/BIC: DEUTDEFF",
        "my salary is $85,400",
        "Employee {name} earns 5,200 EUR",
        "pay to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    ),
    "secret-key": (
        'password = "Qz{account}!x"',
        "DB_PASSWORD=rT{account}",
        "api_key: {hex}",
        "github_pat_" + "aB3" * 20,
        "sk-ant-api03-" + "Ab1-" * 10,
        "AIza" + "a1B2c3D" * 5,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----",
    ),
    "national-id": (
        "passport number C{account}",
        "driver's license number D{account}",
        "Reisepass-Nr. C{account}",
        "Medicare card: 2123 45670 1",
        (
            "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\n"
            "L898902C36UTO7408122F1204159ZE184226B<<<<<10"
        ),
    ),
}

HONEST = (
    "Marie Curie discovered radium and won two prizes.",
    "President Lincoln and Dr. Martin Luther King are remembered on these days.",
    "Dr. Martin Luther King was born on January 15, 1929, in Atlanta.",
    "Leonardo da Vinci was born on 15 April 1452.",
    "Stephen Hawking was diagnosed with ALS at 21 and became a renowned physicist.",
    "Freddie Mercury was diagnosed with AIDS in 1987.",
    "Ms. Austen's novels are set in Hampshire.",
    "The Customer Success Manager reviews each customer id before Friday.",
    "first_name = models.CharField(max_length=40)",
    "type Person {{ firstName: String; lastName: String }}",
    "Patients with diabetes often take metformin 500 mg twice a day.",
    "ICD-10 code E11.9 stands for type 2 diabetes.",
    "Diagnosis: connection refused by the proxy.",
    "Free Software Foundation, Inc., 51 Franklin Street, Boston, MA 02110-1301 USA",
    "SSH fingerprint SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8",
    "Salary range: $80,000 - $120,000 depending on experience.",
    "The balance of power shifted by 4,000 votes.",
    "password = os.environ['DB_PASSWORD']",
    "password = getpass.getpass('Password: ')",
    "Set `api_key: <your key>` in the configuration; never log a password.",
    "postgres://user:password@localhost/db",
    "def check(password: str, token: str | None = None) -> bool: ...",
    "Passport applications rose by 12345 in 2019.",
    "The gateway's IP address is 10.20.30.40.",
)


def _values(rng: random.Random) -> dict[str, str]:
    year = str(rng.randint(1930, 2012))
    street = rng.choice(STREETS)
    return {
        "name": f"{rng.choice(FIRST)} {rng.choice(LAST)}",
        "address": street.format(n=rng.randint(1, 199), p=rng.randint(10000, 99999)),
        "date": rng.choice(DATES).format(y=year),
        "illness": rng.choice(ILLNESS),
        "hex": f"{rng.getrandbits(192):048x}",
        "account": f"{rng.randint(10_000_000, 99_999_999)}",
    }


@pytest.mark.parametrize("kind", CASES)
def test_personal_datum_is_found_by_its_context(kind: str) -> None:
    """Whatever the value and wording of its kind, it is labelled with its type, and with a reason."""
    rng = random.Random(kind)
    missed = []
    for wording in CASES[kind]:
        for _ in range(8):
            text = wording.format(**_values(rng)) if "{" in wording else wording
            labels = [lb for lb in SCREENER.screen(({"text": text},)).labels if lb.type == kind]
            if not labels:
                missed.append(text)
    assert missed == []


@pytest.mark.parametrize("text", HONEST)
def test_text_without_a_record_is_left_alone(text: str) -> None:
    """Public figures, general medicine, organisations' addresses and code bear no label."""
    assert SCREENER.screen(({"text": text},)).labels == ()


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("firstName", "Antonina", "person-name"),
        ("imię", "Stanisław", "person-name"),
        ("customer_dob", "1980-01-02", "date-of-birth"),
        ("street", "Rynek Wielki 7", "postal-address"),
        ("diagnosis", "chronic asthma", "health"),
        ("face_embedding", "[0.1,0.2,0.3,0.4]", "biometric"),
        ("annualSalary", "520000", "financial"),
        ("password", "xK9!mm2qLp", "secret-key"),
    ],
)
def test_key_says_what_its_value_is(key: str, value: str, kind: str) -> None:
    """In structured data the key is the context; the whole value is labelled."""
    (label,) = [lb for lb in SCREENER.screen(({"data": {key: value}},)).labels if lb.type == kind]
    assert (label.start, label.end) == (0, len(value))
    assert label.reason


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Blue Kettle"),
        ("first_name", "String"),
        ("address", "10.0.0.1:8080"),
        ("diagnosis", "disk is full"),
        ("fingerprint", "a" * 40),
        ("password", "required"),
        ("salary", "negotiable"),
    ],
)
def test_key_alone_is_no_datum(key: str, value: str) -> None:
    """A value that cannot be what its key may announce bears no label."""
    assert SCREENER.screen(({"data": {key: value}},)).labels == ()


def test_reason_never_holds_content() -> None:
    """A reason explains the label to a reader of the ledger; it repeats nothing of the text."""
    text = "Patient Zbigniew Brzęczyszczykiewicz was diagnosed with epilepsy."
    labels = SCREENER.screen(({"text": text},)).labels
    assert {"person-name", "health"} <= {label.type for label in labels}
    assert not any("Zbigniew" in lb.reason or "epilepsy" in lb.reason for lb in labels)


def _dialled(rng: random.Random) -> tuple[str, str]:
    """A valid number of any country, in the country's own notation, and its digits."""
    while True:
        region = rng.choice(sorted(phonenumbers.SUPPORTED_REGIONS))
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if number is not None and len(str(number.national_number)) >= 7:
            return phonenumbers.format_number(
                number, phonenumbers.PhoneNumberFormat.NATIONAL
            ), region


@pytest.mark.parametrize(
    "wording", ["Call me at {}", "Tel. {}", "His mobile is {}", "Llámame al {}", "phone={}"]
)
def test_phone_of_any_country_is_found_behind_a_word_for_phones(wording: str) -> None:
    """No plan needs to be known where a word right before the number says what it is."""
    rng = random.Random(wording)
    for _ in range(40):
        shown, region = _dialled(rng)
        types = SCREENER.screen(({"text": wording.format(shown)},)).types
        assert types & {"phone", "national-id"}, (region, shown)


@pytest.mark.parametrize(
    "text",
    [
        "postgres://app:)l$tRJ&kK^F1iOgK@db.internal:5432/prod",
        "curl -u admin:EAeXVF4m0zLSuKmh https://host/api",
        'curl -H "X-Octopus-ApiKey: 3a16750d-d363-41a4-8ebd-035408f7730f" https://host',
        'HEROKU_API_KEY = "e1af30e5-60c1-3c62-f4ec-2bc9aaf12450"',
        "ssh root@host password 'HQ0XM9PgJu'",
        "The password is 7w(5U2iN+x",
        "https://hooks.slack.com/services/T024TT7RT/BBB72BBL/AZAAA9u0pA4ad666eMgbi555x",
        "sgp_d7dfFD43cF2503B1da673EB560aAa3e80f16FA42",
    ],
)
def test_secret_that_a_command_or_address_passes_on_is_found(text: str) -> None:
    """Logins in links and commands, headers, webhooks, and keys in the form of a UUID."""
    assert "secret-key" in SCREENER.screen(({"text": text},)).types


@pytest.mark.parametrize(
    "text",
    [
        "The file begins with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----.",
        "export TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "next_page_token = 'CAEQ7PfYk2xbdAeTMzQ3'",
        "  -F image=@photo.png -F flag=@fl.txt",
        "| 8  | 06-07-2008 | Pocono 200 | 2007/08  | 2008/09  | 2009/10  |",
        "[4154, 1076, 4970, 6818, 1080, 8211, 569, 714]",
        "national_number_pattern='112|611|9(?:11|33|88)|461|502|6'",
        "[1.82126812e+01, 0.0, 1.06011014e+01]",
        "ISO 8859-14 is also known as Latin-8.",
        "I travel to the Czech Republic next week and need my passport by then.",
        "How do I override the default instructions in my Dockerfile?",
        "The tank holds 305681316892 / 711 litres.",
        "68 1e b7 cc 20  60 30 00 41 54 ff fe 8d",
    ],
)
def test_text_that_resembles_a_record_is_left_alone(text: str) -> None:
    """Placeholders, tables, patterns and file names: what outside corpora were taken for."""
    assert SCREENER.screen(({"text": text},)).labels == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The patient has HIV and diabetes type 2, diagnosis F32.1", True),
        ("Our client was diagnosed with multiple sclerosis in March.", True),
        ("If the patient has diabetes, check the value every three months.", False),
        ("The patient should be asked whether they take aspirin.", False),
        ("Patients with diabetes need more water than others.", False),
    ],
)
def test_what_is_told_of_one_patient_is_health_data(text, found):
    """Told as a fact, not supposed of anybody."""
    assert ("health" in SCREENER.screen(({"text": text},)).types) is found


def test_an_address_over_two_strings_is_labelled_in_both() -> None:
    """Where its beginning is found alone, its rest does not stay; a street and its place are surer than the beginning."""
    parts = ({"text": "She lives at 12 Oak"}, {"text": " Street, Springfield, IL 62704"})
    labels = SCREENER.screen(parts).labels
    assert [(label.type, label.path[0], label.confidence) for label in labels] == [
        ("postal-address", 0, 0.8),
        ("postal-address", 1, 0.85),
    ]
