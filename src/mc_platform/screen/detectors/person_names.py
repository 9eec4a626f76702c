"""Names of persons, where the text is somebody's record.

A name alone is no personal datum here: public figures are spoken about in honest text. It counts
where a field, a role or the person itself announces it, and the weaker the announcement, the more
of a record must stand beside it (`cues.in_record`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from mc_platform.screen.detectors.context_words import COLON, cued, in_record, is_common, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import PERSON_NAME, Budget, Finding

_NAME_CHARS = 72
_MAX_TOKENS = 5
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+){0,3}")
_GAP = re.compile(r",?[ ]{1,2}|\.[ ]?|['\"*]")
_PARTICLES = words(
    """van von der den de la los las del della di da dos das do du des le bin bint ibn al el ben ter
    ten zu zum zur y e af av"""
)
_TITLES = words(
    """mr mrs ms miss mx dr prof sr sra srta herr herrn frau mme mlle monsieur madame pan pani sig
    signora signor dott don doña señor señora sir mister"""
)
_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sra?|Srta|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Pani?|Sig"
    r"|Signora|Signor|Dott|Do[nñ]a|Se[nñ]ora?)"
)


PERSON_KEYS = words(
    """firstname lastname fullname givenname givennames familyname surname middlename maidenname
    legalname birthname patientname customername clientname employeename membername contactname
    holdername accountholder accountholdername cardholder cardholdername nameoncard recipientname
    beneficiaryname guardianname spousename passengername guestname studentname applicantname
    policyholder policyholdername insuredname subscribername nextofkin emergencycontact
    mothersmaidenname mothermaidenname shippingname billingname payeename borrowername
    nombrecompleto apellido apellidos primerapellido segundoapellido nombrepaciente nombrecliente
    vorname nachname familienname geburtsname vollername kundenname patientenname
    prenom prénom nomdefamille nomcomplet nomprenom nomdupatient nomduclient
    imię imie nazwisko imięinazwisko imieinazwisko cognome nomeecognome nomecompleto sobrenome
    apelido voornaam achternaam volledigenaam förnamn efternamn fornavn etternavn efternavn
    jméno příjmení meno priezvisko keresztnév vezetéknév"""
)
_STRONG_FIELD = (
    r"(?i:\b_?(?:(?:[a-z]{2,12}[_ ])?(?:first|last|full|given|family|middle|maiden|legal|birth)"
    r"[ _\-]?names?|surname"
    r"|(?:patient|cardholder|card holder|account holder|customer|client|employee|member|contact"
    r"|holder|recipient|beneficiary|guardian|spouse|passenger|guest|student|applicant|claimant"
    r"|borrower|tenant|payee|policy ?holder|insured|subscriber|next of kin|emergency contact"
    r"|defendant|plaintiff|victim|witness|caller|resident|driver|owner|parent|child)"
    r"(?:'s)?[ _]?(?:full )?name"
    r"|patient|policy ?holder|card ?holder|account ?holder|insured(?: person)?|beneficiary"
    r"|next of kin|emergency contact|claimant|applicant|passenger"
    r"|nombre (?:completo|y apellidos|del? (?:paciente|cliente|titular))|apellidos?|paciente|titular"
    r"|vorname|nachname|familienname|geburtsname|versicherte[r]?|patient(?:in)?|karteninhaber"
    r"|kontoinhaber(?:in)?|name de[sr] (?:patient\w*|kund\w*|versichert\w*)"
    r"|pr[eé]nom|nom (?:de famille|complet|et pr[eé]nom|du (?:patient|client|titulaire))"
    r"|patiente|assur[eé]e?|titulaire"
    r"|imi[eę]|nazwisko|imi[eę] i nazwisko|pacjent(?:ka)?|posiadacz|ubezpieczon[ya]"
    r"|cognome|nome e cognome|nome completo|paziente|intestatario|assicurato|sobrenome"
    r"|voornaam|achternaam|volledige naam|pati[eë]nt|f[oö]rnamn|efternamn|fornavn|etternavn))"
)
_WEAK_FIELD = (
    r"(?i:\b(?:name|contact|customer|client|employee|member|user|holder|attn|attention|owner"
    r"|guest|tenant|student|recipient|sender|driver|resident|caller|from|to|ship to|bill to"
    r"|deliver to|nombre|cliente|kunde|kundin|mitarbeiter(?:in)?|nom|client(?:e)?|klient(?:ka)?"
    r"|nome|naam|navn|namn|klant|dear|(?:opened|submitted|requested|reported|filed|signed) by|deceased|i am|i'm|this is))"
)
_SELF = (
    r"(?i:\b(?:my (?:full |legal |real |first |last |maiden )?name is|my name's|name's"
    r"|i am called|mein name ist|ich hei(?:ß|ss)e|mein name:|je m['’]appelle|mon nom est"
    r"|me llamo|mi nombre es|mi nombre completo es|nazywam si[eę]|mam na imi[eę]|mi chiamo"
    r"|il mio nome [eè]|meu nome [eé]|chamo-me|me chamo|mijn naam is|ik heet|jag heter"
    r"|mitt namn [aä]r|jeg hedder|jeg heter|jmenuji se|registered (?:to|under the name)"
    r"|in the name of|on behalf of (?:our )?(?:patient|customer|client)|cardholder is"
    r"|account holder is|the patient is|patient is named|patient named|customer named"
    r"|a customer called|his name is|her name is|their name is|patient's name is"
    r"|(?:customer|client|patient|employee|caller|guest|user)(?:'s)? (?:full )?name is"
    r"|the name on the (?:card|account|booking|reservation) is))"
)
_ROLE = (
    r"(?:\b(?i:patient|customer|client|employee|policyholder|cardholder|account holder|member"
    r"|claimant|applicant|tenant|passenger|guest|borrower|colleague|resident|subscriber|insured"
    r"|student|our (?:customer|client|patient)|kundin|kunde|patientin|cliente|paciente|paziente"
    r"|klient|klientka|pacjent|pacjentka|patiente|cliente))"
)
# What may follow in prose when it is somebody's file.
_FILE = re2.compile(
    r"(?i)\A(?:['’]s|s['’])?[,:;(\- ]{0,3}(?:(?:who|was|is|has|had|with)[ ]){0,2}"
    r"(?:account|order|address|phone|mobile|e-?mail|card|file|record|diagnos|salary|invoice"
    r"|appointment|prescription|lives|living|residing|admitted|discharged|hospitali|born|dob"
    r"|aged|age|called|complain|requested|prescribed|allergic|passport|ssn|owes|balance|earns"
    r"|medical|test results?|blood|refund|\d{1,2}[ ,]|customer|patient|client|member|employee"
    r"|policy|claim|insurance|visited|tested|suffers|takes|treated|è stat|wurde|fue |został|a été)"
)
_OWNED = re2.compile(
    r"(?i)\A['’]s (?:account|order|address|phone|card|file|record|salary|invoice|appointment|prescription"
    r"|diagnosis|policy|claim|refund|balance|passport|test results?)\b"
)
_CAPITAL = r"[\"'*(\[]{0,2}\p{Lu}"
_NO_NAME = frozenset(
    """String Str Text Char Varchar Optional None Null Nil True False Any Unknown Undefined Required
    Name Names Full First Last Middle Given Family Field Fields Type Types Number Integer Int Bool
    Boolean Object Array List Dict Map Column Value Values Default Example Test Sample Your My The
    This That These Those A An Our Their His Her It Its Is Are Was And Or Of For With Without In On
    At By From To Not No Yes Please Enter See Note Notes Todo N/A Na Tbd Id Ids Key Keys Data
    Service Services Success Support Safety Care Center Centre Experience Relations Relationship
    Management Manager Team Desk Portal Account Accounts Order Orders Number Record Records File
    Files Address Email Mail Phone Contact Contacts Information Info Details Status Date Time Day
    Group Corp Corporation Inc Ltd Llc Gmbh Ag Sa Spa Srl Plc Co Company Companies Bank Solutions
    Systems System Software Hardware Technologies Technology Labs Lab Institute University College
    School Department Ministry Office Agency Authority Commission Council Committee Foundation
    Association Society Union Project Program Programme Platform Protocol Server Client Clients
    Customer Customers Patient Patients Employee Employees User Users Member Members Api Sdk Http
    Https Json Xml Sql Url Uri Html Css Pdf Csv Street Road Avenue Lane City State Country Monday
    Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July
    August September October November December Protection Act Bill Rights Journey Satisfaction
    Segment Segments Segmentation Retention Lifetime Acquisition Engagement Feedback Review Reviews
    Version Release Python Java Javascript Linux Windows Docker Kubernetes Global New Old North South
    East West Central International National Federal Royal Public Private General Standard Premium
    Basic Free Enterprise Business Sales Marketing Finance Legal Human Resources Engineering Product
    Products Design Operations Security Privacy Policy Terms Conditions Agreement License Licence
    Report Reports Summary Analysis Overview Introduction Description Title Subject Message Sir
    Madam All Everyone Everybody Dear Hello Hi Hey Thanks Thank Regards Best Kind Sincerely There
    Here When Where What Who Why How If Then Else While Can Could Should Would Will Must May Might
    Shall Do Does Did Has Have Had Be Been Being Redacted Anonymous Placeholder Hidden Masked Total
    Amount Price Quantity Item Items Self None. Access Control Level Settings Configuration Config
    Advisory Advocacy Education Outcomes Outcome Monitoring Flow Intake Admission Discharge Consent
    Loyalty Rewards Benefits Handbook Onboarding Directory Referral Registration Stock Purchase Plan Zero Tm Identity Card Math Passport Licence Certificate Ticket Loan
    Republic Kingdom States Islands Island Emirates Arabia Zealand Africa America Korea Lanka Rica Guinea
    Insurance Dob Ssn Mrn Iban Tel Nhs Usa Uk Gp Ip Pin Vat Mailing Shipping Billing Delivery Home Work Office""".lower().split()
)
_CODE_AFTER = frozenset("([{<=$%_")


def read_name(text: str, at: int, *, least: int = 1) -> tuple[int, int] | None:
    """The name that begins at a place: capitalised words, initials, particles between them.

    Titles before it are passed over. None if there are fewer than `least` words, if a word is a
    common one, or if what follows is code.
    """
    end = min(len(text), at + _NAME_CHARS)
    start = stop = -1
    count, position = 0, at
    while count < _MAX_TOKENS:
        word = _WORD.match(text, position, end)
        if word is None:
            break
        low = word[0].lower()
        if count == 0 and low in _TITLES:
            position = word.end()
        elif _is_token(word[0]):
            if low in _NO_NAME:
                break
            start = word.start() if count == 0 else start
            stop, count, position = word.end(), count + 1, word.end()
        elif count and low in _PARTICLES:
            position = word.end()
        else:
            break
        gap = _GAP.match(text, position, end)
        if gap is None or (gap[0][0] == "," and count > 1):
            break
        position = gap.end()
        if text.startswith(" ", position):
            position += 1
    if count < least or _goes_on(text, stop):
        return None
    if text.startswith(".", stop) and stop - start > 1 and text[stop - 2] in " .":
        stop += 1
    return start, stop


def read_full_name(text: str, at: int) -> tuple[int, int] | None:
    """As `read_name`, of two words or more."""
    return read_name(text, at, least=2)


def _from_capital(text: str, end: int) -> tuple[int, int] | None:
    """A full name that begins with the capital letter before a place."""
    return read_full_name(text, end - 1)


def _is_token(word: str) -> bool:
    return word[0].isupper() and (word[-1].islower() or word.isupper()) and word.count("'") <= 1


def _goes_on(text: str, end: int) -> bool:
    after = text[end : end + 2]
    return after[:1] in _CODE_AFTER or (after[:1] == "." and after[1:].isalnum())


def _in_file(text: str, start: int, end: int) -> bool:
    return _FILE.match(text[end : end + 40]) is not None or in_record(text, start, end)


def _of_somebody(text: str, start: int, end: int) -> bool:
    return _OWNED.match(text[end : end + 40]) is not None or in_record(text, start, end)


def _before_address(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """Names directly before an e-mail address: `Ann Lee <ann@...>`, `Ann Lee, ann@...`."""
    for match in _ADDRESS.finditer(text):
        budget.spend()
        low = max(0, match.start() - _NAME_CHARS)
        before = text[low : match.start()].rstrip(" <([\"',;|\t:")
        line = before[max(before.rfind(mark) for mark in '\n,;|:\t(>"') + 1 :]
        at = low + len(before) - len(line) + len(line) - len(line.lstrip())
        span = read_full_name(text, at)
        if span is not None and span[1] >= low + len(before) - 1:
            yield Finding(
                PERSON_NAME, *span, 0.85, "context.name-contact", "An e-mail address follows it."
            )


_ADDRESS = re2.compile(r"[\w.+\-]{1,64}@[\w\-]{1,63}\.\w")
_BEFORE_ADDRESS = r"[\"',;|\t ][<(\[]?[\w.+\-]{1,64}@[\w\-]"
_CJK = (
    r"(?:姓名|患者|氏名|お名前|이름|성명)(?:[ ]{0,2}[:=：][ ]{0,2}|[ ]{1,2}|是|は|은|는)(?P<value>[\p{Han}\p{Hiragana}"
    r"\p{Katakana}\p{Hangul}]{2,8})"
)

NAME_FINDERS: tuple[Shaped, ...] = (
    cued(
        PERSON_NAME,
        "context.name-field",
        f"{_STRONG_FIELD}{COLON}",
        shape=f"{_STRONG_FIELD}[^a-zA-Z]",
        reason="A field that holds persons' names stands before it.",
        confidence=0.9,
        read=read_name,
    ),
    cued(
        PERSON_NAME,
        "context.name-field-record",
        rf"{_WEAK_FIELD}(?:{COLON}|[ ]){_CAPITAL}",
        reason="A field that may hold a name stands before it, within somebody's record.",
        read=_from_capital,
        accept=in_record,
    ),
    cued(
        PERSON_NAME,
        "context.name-told",
        rf"{_SELF}:?[ ]{{1,2}}[\"'*]{{0,2}}",
        shape=_SELF,
        reason="The text says that this is somebody's name.",
        confidence=0.9,
        read=read_name,
    ),
    cued(
        PERSON_NAME,
        "context.name-role",
        rf"{_ROLE},?[ ]{_CAPITAL}",
        reason="It names a person in a role whose file the text speaks of.",
        read=_from_capital,
        accept=_in_file,
    ),
    cued(
        PERSON_NAME,
        "context.name-role",
        rf"{_ROLE}(?:[ ](?i:id|no\.?|number|nr\.?|file))?[ :#]{{1,3}}[A-Z]{{0,4}}-?\d[\d\-]{{2,12}}(?:[:,]|[ ]?\()[ ]?{_CAPITAL}",
        reason="A role with its number stands before it.",
        read=_from_capital,
        accept=lambda text, start, end: not is_common(text[start:end]),
    ),
    cued(
        PERSON_NAME,
        "context.name-title",
        rf"\b{_TITLE}\.?[ ]",
        reason="A title stands before it, within somebody's record.",
        read=read_name,
        accept=_of_somebody,
    ),
    (_BEFORE_ADDRESS, _before_address),
    cued(
        PERSON_NAME,
        "context.name-signature",
        r"(?i)(?:regards|sincerely|cheers|yours truly|best wishes|gr[uü](?:ß|ss)en?|cordialement"
        r"|saludos|atentamente|pozdrawiam|cordiali saluti|groeten|thanks|thank you)"
        r"[,.!]?[ ]?\n{1,2}[ \t]{0,4}",
        reason="It stands as the signature of a message with contact data.",
        read=read_full_name,
        accept=in_record,
    ),
    cued(
        PERSON_NAME,
        "context.name-field",
        _CJK,
        reason="A field that holds persons' names stands before it.",
    ),
    cued(
        PERSON_NAME,
        "context.name-field",
        r"(?i)(?:фио|имя|фамилия|пациент(?:ка)?|клиент(?:ка)?|меня зовут|мене звати)[ ]{0,2}:?[ ]",
        reason="A field that holds persons' names stands before it.",
        read=read_name,
    ),
)

_KEY_VALUE = re.compile(r"[^\W\d_][^\d_<>{}()\[\]@/\\|:;=\n]{0,60}")


def is_name_value(text: str) -> bool:
    """Whether what stands under a key for names may be one: letters, and no placeholder."""
    if _KEY_VALUE.fullmatch(text.strip()) is None:
        return False
    return not any(word.rstrip(".,").lower() in _NO_NAME for word in text.split())
