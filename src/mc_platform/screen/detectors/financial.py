"""Financial data: accounts by their cue and checksum, wallets, and what somebody owns or earns."""

from __future__ import annotations

import re2
from stdnum import bic, bitcoin
from stdnum.us import rtn

from mc_platform.screen.detectors.context_words import COLON, cued, in_record, is_common, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import FINANCIAL, PAYMENT_CARD

_IS = rf"(?:{COLON}|[ ]{{1,2}}(?:(?i:is|was|number|no\.?|nr\.?|code|ending in|es|est|lautet|to)[: ]{{1,2}}){{0,2}}#?)"
_ACCOUNT = (
    r"(?i:\b(?:(?:bank|checking|savings|current|deposit|brokerage|salary|giro|debit|direct deposit)"
    r"[ _\-]?(?:account|acct|a/c)|account[ _\-]?(?:number|no\.?|nr\.?|num|#)|acct\.?[ ]?(?:number|no\.?|#)?"
    r"|a/c (?:number|no\.?)|bank[ _]account[ _]number|kontonummer|konto-?nr\.?|n[uú]mero de cuenta"
    r"|cuenta (?:bancaria|corriente)|num[eé]ro de compte|compte bancaire|numer (?:konta|rachunku)"
    r"|rachunek bankowy|numero (?:di )?conto|conto corrente|conta (?:bancária|corrente)|rekeningnummer)"
    r"(?:[ _]?(?:number|no\.?|nr\.?|#))?)"
)
_DIGITS = r"\d(?:[ \-]?\d){6,16}"
_BANK_CODE = r"(?i)\bsort[ _\-]?code|\brouting\b|\baba\b|\brtn\b|\btransit\b|\bbankleitzahl\b|\bblz\b|\bbsb\b"
_CURRENCY = r"USD|EUR|GBP|PLN|CHF|INR|CAD|AUD|DKK|SEK|NOK|CZK|HUF|RON|JPY|CNY|BRL|MXN|TRY|ZAR|NZD|SGD|HKD|AED|ILS|zł"
_MONEY = (
    rf"(?:(?:[$€£¥₹]|(?:{_CURRENCY})[ ]?)[ ]?\d[\d.,' ]{{2,14}}\d(?:[ ]?[kKmM]\b)?"
    rf"|\d[\d.,' ]{{2,14}}\d[ ]?(?:[$€£¥₹]|{_CURRENCY}|euros?|dollars?|pounds)"
    r"|[$€£]\d{1,3}(?:\.\d)?[kKmM]\b|\b\d{2,3}[kK]\b)"
)
_WEALTH = (
    r"(?i:salary|salaries|wage|wages|income|net worth|earnings|compensation|pay ?check|bonus|pension"
    r"|gehalt|einkommen|sueldo|salario|ingresos|salaire|revenu|wynagrodzenie|pensja|zarobki|stipendio"
    r"|reddito|sal[aá]rio|balance|debt|overdraft|mortgage|credit (?:score|limit)|kontostand|saldo|solde"
    r"|savings|loan)"
)
_WHOSE = (
    r"(?:\b(?i:my|his|her|their|customer's|client's|employee's|patient's|member's|mein|meine|seine|ihre?"
    r"|mi|su|mon|sa|son|moje|jego|jej|il mio|meu)|[A-ZÀ-ÞĀ-Ž][a-zà-ž]{1,20}['’]s"
    r"|\b(?i:employee|customer|client|mr|mrs|ms|herr|frau)\.?[ ][A-ZÀ-ÞĀ-Ž][\wÀ-ž'’\-]{1,20}(?:[ ][A-ZÀ-ÞĀ-Ž][\wÀ-ž'’\-]{1,20})?"
    r"(?:['’]s|[ ](?i:has|had|owes|with) (?i:an?|the)?))"
)
_EARNS = (
    r"(?:\b(?i:i|he|she|employee|customer|client|mr|mrs|ms|herr|frau|ich|er|sie)\.?(?:[ ](?:[a-z]{2,3}[ ]){0,2}[A-ZÀ-ÞĀ-Ž][\wÀ-ž'’\-]{1,20})"
    r"{0,2}[ ](?i:earns?|earned|makes?|is paid|was paid|owes?|verdien(?:e|t)|gan[ao]|gagne|zarabia(?:m)?"
    r"|guadagn[ao])|[A-ZÀ-ÞĀ-Ž][a-zà-ž]{1,20}[ ][A-ZÀ-ÞĀ-Ž][a-zà-ž]{1,20}[ ](?i:earns|owes|is paid))"
)


def _bic(text: str, start: int, end: int) -> bool:
    return bool(bic.is_valid(text[start:end]))


_PERSONAL = re2.compile(
    r"(?i)\b(?:iban|account|acct|konto\w*|cuenta|compte|conto|rachun\w*|rekening\w*|holder|beneficiary|payee|recipient|customer|client"
    r"|employee|patient|my|his|her|their|mein\w*|name)\b"
)


def _own_bic(text: str, start: int, end: int) -> bool:
    """Whether a bank's code is a field, or part of somebody's bank details: alone it names a bank."""
    if text[max(0, start - 3) : start].rstrip().endswith((":", "=")):
        return _bic(text, start, end)
    near = text[max(0, start - 120) : start] + "\n" + text[end : end + 120]
    return _bic(text, start, end) and _PERSONAL.search(near) is not None


def _routing(text: str, start: int, end: int) -> bool:
    return bool(rtn.is_valid(text[start:end]))


def _bitcoin(text: str, start: int, end: int) -> bool:
    return bool(bitcoin.is_valid(text[start:end]))


def _clabe(text: str, start: int, end: int) -> bool:
    # Banco de Mexico: 3, 7, 1 over seventeen digits, each product modulo ten.
    digits = [int(char) for char in text[start:end] if char.isdigit()]
    total = sum(digit * (3, 7, 1)[at % 3] % 10 for at, digit in enumerate(digits[:-1]))
    return -total % 10 == digits[-1]


def _own_record(text: str, start: int, end: int) -> bool:
    return in_record(text, start, end, chars=120)


_SEQUENCES = "01234567890 9876543210"


def _several(text: str, start: int, end: int) -> bool:
    return len(set(text[start:end])) > 2


def _drawn(text: str, start: int, end: int) -> bool:
    return _several(text, start, end) and text[start:end] not in _SEQUENCES


_SOMEBODY = (
    r"(?:(?i:our |the )?(?i:patient|customer|client|employee|member|user|mr|mrs|ms|dr|herr|frau)\.?[ ])?"
    r"[A-ZÀ-ÞĀ-Ž][a-zà-ž'’\-]{1,20}(?:[ ][A-ZÀ-Þ]\.)?[ ][A-ZÀ-ÞĀ-Ž][A-Za-zà-ž'’\-]{1,20}"
)
_WEALTH_OF = (
    r"(?i)\b(?:salary|wages?|income|bonus|pension|balance|debt|overdraft|mortgage|score|limit|rating|gehalt|einkommen|sueldo|salario|salaire"
    r"|wynagrodzenie|stipendio|account|savings|portfolio|wallet|loan) (?:of|von|de|di) \w"
)
# What is told in the news, and what a place or an office has.
_PUBLIC_MONEY = re2.compile(
    r"(?i)million|billion|trillion|\bmio\b|\bmrd\b|president|minister|\bceo\b|mayor|governor|king|queen|player|actor|actress|star\b|city|county"
    r"|states|republic|university|company|\binc\b|\bltd\b|gmbh|council"
)
_EXPIRY = re2.compile(
    r"(?i)\b(?:0[1-9]|1[0-2]) ?[/\-] ?(?:20)?[2-4]\d\b|\bexp|\bvalid (?:thru|until|to)\b|\b(?:my|his|her|their) |\d{4}[ \-]?\d{4}|\b(?:visa|master ?card|amex|holder)\b"
)


def _of_no_celebrity(text: str, start: int, end: int) -> bool:
    near = text[max(0, start - 90) : start]
    return _PUBLIC_MONEY.search(near + text[start : end + 24]) is None and not is_common(
        near[near.rfind("\n") + 1 :].rpartition(" of ")[2]
    )


def _of_a_card(text: str, start: int, end: int) -> bool:
    return text[start:end] not in _SEQUENCES and (
        _EXPIRY.search(text[max(0, start - 60) : start] + "\n" + text[end : end + 40]) is not None
    )


FINANCE_FINDERS: tuple[Shaped, ...] = (
    cued(
        FINANCIAL,
        "context.account",
        rf"{_ACCOUNT}{_IS}(?P<value>{_DIGITS})\b",
        shape=_ACCOUNT,
        reason="A field for bank accounts stands before it.",
        accept=_several,
    ),
    cued(
        FINANCIAL,
        "context.account",
        rf"(?i:\b(?:sort[ _\-]?code|routing|aba|rtn|transit|bankleitzahl|blz|bsb)\b)[^\n\d]{{0,24}}?\d[\d \-]{{4,10}}\b[^\n]{{0,20}}?"
        rf"\b(?i:account|acct\.?|a/c|acc\.?|konto){_IS}(?P<value>{_DIGITS})\b",
        shape=_BANK_CODE,
        reason="An account is named beside its bank's code.",
        accept=_several,
    ),
    cued(
        FINANCIAL,
        "context.account",
        rf"\b(?i:account|acct\.?|a/c|acc\.?|konto){_IS}(?P<value>{_DIGITS})\b[ ]?[,;/&(+]?[ ]?(?i:and |und )?(?i:sort[ _\-]?code|routing|aba|rtn|bankleitzahl|blz|bsb){_IS}\d\d",
        shape=_BANK_CODE,
        reason="An account is named beside its bank's code.",
        accept=_several,
    ),
    cued(
        FINANCIAL,
        "shape.mx.clabe",
        rf"(?i:\bclabe\b(?:[ ]interbancaria)?){_IS}(?P<value>\d{{3}}[ \-]?\d{{3}}[ \-]?\d{{11}}[ \-]?\d)\b",
        shape=r"(?i)\bclabe\b",
        reason="It is named an account, and its checksum holds.",
        accept=_clabe,
        confidence=0.9,
    ),
    cued(
        FINANCIAL,
        "stdnum.us.rtn",
        r"(?i:\b(?:routing|aba|rtn|transit)\b(?:[ /]?(?:aba|routing|rtn|transit))?(?:[ _\-]?(?:number|no\.?"
        rf"|nr|code|#))?){_IS}(?P<value>\d{{9}})\b",
        shape=r"(?i)\b(?:routing|aba|rtn|transit)\b",
        reason="It is named a routing number, and its checksum holds.",
        confidence=0.9,
        accept=_routing,
    ),
    cued(
        FINANCIAL,
        "context.sort-code",
        r"(?i:\bsort[ _\-]?code|\bbankleitzahl|\bblz|\bbsb(?:[ ](?:number|no\.?|code))?)"
        rf"{_IS}(?P<value>\d{{2}}[ \-]?\d{{2}}[ \-]?\d{{2}}|\d{{3}}[ \-]\d{{3}}(?:[ ]?\d{{2}})?|\d{{8}})\b",
        shape=r"(?i)\bsort[ _\-]?code|\bbankleitzahl|\bblz|\bbsb",
        reason="It is named a sort code.",
    ),
    cued(
        FINANCIAL,
        "stdnum.bic",
        rf"\b(?i:bic|swift)(?i:[ /]?(?:bic|swift))?(?i:[ ]?(?:code|id))?{_IS}"
        r"(?P<value>[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)\b",
        shape=r"(?i)\b(?:bic|swift)",
        reason="It is named a bank's code, and is formed like one.",
        accept=_own_bic,
    ),
    cued(
        FINANCIAL,
        "stdnum.bitcoin",
        r"\b(?P<value>bc1[02-9ac-hj-np-z]{11,71}|[13][1-9A-HJ-NP-Za-km-z]{25,34})\b",
        shape=r"\b(?:bc1[02-9ac-hj-np-z]{11}|[13][1-9A-HJ-NP-Za-km-z]{25})",
        reason="It is a wallet's address, and its checksum holds.",
        confidence=0.9,
        accept=_bitcoin,
    ),
    cued(
        FINANCIAL,
        "context.wallet",
        r"(?i:\b(?:wallet|eth(?:ereum)? address|usdt|send (?:eth|ether)|deposit address|crypto address))"
        r"[^\n]{0,40}?\b(?P<value>0x[0-9a-fA-F]{40})\b",
        shape=r"0x[0-9a-fA-F]{40}",
        reason="A wallet is named before it.",
        confidence=0.8,
    ),
    cued(
        FINANCIAL,
        "context.wealth",
        rf"{_WHOSE}[ ](?:[\w\-]{{1,16}}[ ]){{0,4}}{_WEALTH}\b[^\n.;?]{{0,40}}?(?P<value>{_MONEY})",
        shape=_WEALTH,
        reason="It says what one person earns, owns or owes.",
    ),
    cued(
        FINANCIAL,
        "context.wealth-of",
        rf"(?i:\b(?:salary|wages?|income|bonus|pension|balance|debt|overdraft|mortgage|credit (?:score|limit|rating)|gehalt|einkommen|sueldo|salario"
        rf"|salaire|wynagrodzenie|stipendio|account|savings|portfolio|wallet|loan)[ ](?:of|von|de|di)[ ]){_SOMEBODY}"
        rf"(?:[ ]?[:=,]|[ ](?i:is|was|at|holds|has|contains|shows|stands at|amounts to|ist|es|est|beträgt))[^\n.;?]{{0,24}}?(?P<value>{_MONEY}|\b\d{{3}}\b)",
        shape=_WEALTH_OF,
        reason="It says what one person earns, owns or owes.",
        accept=_of_no_celebrity,
    ),
    cued(
        FINANCIAL,
        "context.pin",
        r"\b(?:PIN|pin)(?:[ ](?i:code|number|no\.?))?(?:[ ]?[:=]|[ ](?i:is))?[ ](?P<value>\d{4,6})[ ](?i:for|of|on|to)[ ]"
        r"(?:(?i:the|my|his|her|their|our|your|this)[ ])?(?:[\w\-]{1,12}[ ]){0,2}?(?i:card|account|atm|sim|phone|alarm|safe|bank\w*|tablet|debit|credit)\b",
        shape=r"(?i)\bpin\b",
        reason="It is named the PIN of somebody's card or account.",
        accept=_drawn,
    ),
    cued(
        PAYMENT_CARD,
        "context.card-code",
        rf"\b(?i:cvv2?|cvc2?|card (?:verification|security) (?:code|value|number)){_IS}(?P<value>\d{{3,4}})\b",
        shape=r"(?i)\b(?:cvv2?|cvc2?|card (?:verification|security))\b",
        reason="It is named a card's verification code, beside its date or owner.",
        accept=_of_a_card,
        confidence=0.8,
    ),
    cued(
        FINANCIAL,
        "context.pin",
        r"(?i:\b(?:my|his|her|their|customer's|client's|card|bank|atm|debit|credit|account)(?:[ ]\w{2,10}){0,2}[ ]pin(?:[ ]?(?:code|number|no\.?))?)"
        rf"{_IS}(?P<value>\d{{4,6}})\b",
        shape=r"(?i)\bpin\b",
        reason="It is named the PIN of somebody's card or account.",
        accept=_several,
    ),
    cued(
        FINANCIAL,
        "context.credit-score",
        r"(?i:\b(?:credit|fico|schufa)[ -]?score)(?i:[ ](?:of|is|was|at)|:)?[ ](?P<value>\d{3})[ ,]{1,2}(?:for|belongs to|of)?[ ]?"
        r"[A-ZÀ-Þ][a-zà-ž]{1,20}[ ][A-ZÀ-Þ]",
        reason="It rates one person's credit.",
    ),
    cued(
        FINANCIAL,
        "context.earns",
        rf"{_EARNS}[^\n.;?]{{0,30}}?(?P<value>{_MONEY})",
        shape=r"(?i)\b(?:earn(?:s|ed)?|makes?|paid|owes?|verdien|gan[ao]|gagne|zarabia|guadagn)",
        reason="It says what one person earns, owns or owes.",
        confidence=0.8,
    ),
    cued(
        FINANCIAL,
        "context.wealth-record",
        r"(?i:\b(?:(?:annual|monthly|gross|net|base|current)[ _])?(?:salary|income|net worth|credit score"
        r"|account balance|balance|gehalt|salario|salaire|wynagrodzenie|stipendio|kontostand|saldo))"
        rf"(?:{COLON}|[ ](?i:of|is)[ ])(?P<value>{_MONEY}|\d{{3,9}}(?:[.,]\d{{2}})?)\b",
        shape=_WEALTH,
        reason="It says what one person earns or owns, within that person's record.",
        accept=_own_record,
    ),
)

NUMERIC_KEYS = words(
    """salary annualsalary monthlysalary basesalary grosssalary netsalary wage hourlywage income
    annualincome monthlyincome householdincome networth creditscore accountbalance bankbalance
    gehalt salario sueldo salaire wynagrodzenie stipendio kontostand creditlimit loanamount
    outstandingdebt mortgagebalance"""
)
ACCOUNT_KEYS = words(
    """accountnumber accountno acctno acctnumber bankaccount bankaccountnumber bankacct kontonummer
    numerokonta numerrachunku numerodecuenta cuentabancaria numerodecompte rekeningnummer routingnumber
    abarouting aba abanumber routingno sortcode bsb bic swift swiftcode bicswift blz bankleitzahl
    walletaddress cryptowallet bitcoinaddress btcaddress ethaddress ethereumaddress"""
)
_AMOUNT = re2.compile(
    r"\A\s*(?:[$€£¥₹]|[A-Z]{3})?[ ]?\d[\d.,' ]{1,14}(?:[ ]?(?:[$€£¥₹]|[A-Z]{3}|zł|[kK]))?\s*\z"
)
_ACCOUNT_VALUE = re2.compile(
    r"\A\s*(?:\d(?:[ \-]?\d){5,19}|[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?|0x[0-9a-fA-F]{40}"
    r"|[A-Za-z0-9]{26,74})\s*\z"
)


def is_financial_value(key: str, text: str) -> bool:
    """Whether what stands under a squashed key for financial data is an amount or an account."""
    if key in NUMERIC_KEYS:
        return _AMOUNT.match(text) is not None
    return _ACCOUNT_VALUE.match(text) is not None
