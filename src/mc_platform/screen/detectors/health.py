"""Health data: a medical term that the text ties to one person, or to a patient's record.

General medical prose, which speaks of patients and diseases at large, is left alone.
"""

from __future__ import annotations

import re2

from mc_platform.screen.detectors.context_words import COLON, cued, is_common, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import HEALTH

# Endings of the language of medicine, then what has none.
_DISEASE = (
    r"(?:(?:(?:breast|lung|prostate|colon|bowel|skin|ovarian|cervical|liver|pancreatic|stomach|brain|bladder|throat|thyroid|testicular|type [12]|chronic"
    r"|acute|severe|major|metastatic|stage [1-4]|stage [iv]{1,3})[ ]){0,2}(?:\w{3,20}itis\b|(?:an|leuk|hyperglyc|hypoglyc|isch|septic|ur|hyperlipid)a?emi[ac]\b"
    r"|(?:carcin|lymph|melan|glauc|sarc|gli|myel|aden|hemat|haemat)oma\b"
    r"|(?:thromb|cirrh|fibr|scler|psych|neur|tubercul|scoli|osteopor|stenos|steno|necr|acid|ket|nephr"
    r"|mononucle|sarcoid|toxoplasm|arthr|atheroscler|diverticul|dermat)osis\b"
    r"|(?:neuro|retino|myo|nephro|encephalo|osteo|arthro|radiculo)pathy\b|\w{3,20}(?:algia|plegia)\b"
    r"|(?:agora|claustro)phobia|\w{3,16}ectomy\b|diabet\w*|cancer\w*|tumou?rs?\b|leuka?emia|cystic fibrosis"
    r"|melanoma|asthma\w*|hiv\b|aids\b|syphilis|chlamydia|gonorrh?o?ea|herpes|hepatitis|tubercul\w+"
    r"|covid(?:-19)?|influenza|pneumonia|sepsis|depressi(?:on|ve)\w*|bipolar|anxiety disorder|ptsd"
    r"|schizo\w+|psychosis|autis\w+|adhd|dementia|alzheimer\w*|parkinson\w*|epileps?\w+|migraines?"
    r"|multiple sclerosis|stroke\b|hypertension|hypotension|hypothyroid\w*|hyperthyroid\w*"
    r"|arrhythmia|atrial fibrillation|heart (?:failure|attack|disease)|angina|copd|infarction"
    r"|(?:kidney|renal|liver) (?:failure|disease)|crohn'?s?\b|colitis|celiac|coeliac|anemia|lupus"
    r"|arthritis|fibromyalgia|gout\b|psoriasis|eczema|endometriosis|pregnan(?:t|cy)|miscarriage"
    r"|abortion|infertil\w+|addiction|alcoholism|overdose|anorexia|bulimia|obesity|insomnia"
    r"|(?:penicillin|peanut|latex|aspirin|sulfa|pollen|shellfish|bee) allerg\w+|krebs\b|brustkrebs"
    r"|asthma|depression|bluthochdruck|schlaganfall|herzinfarkt|epilepsie|schwanger\w*|c[aá]ncer"
    r"|asma\b|hipertensi[oó]n|depresi[oó]n|embaraz\w+|vih\b|sida\b|cancer|asthme|enceinte|sclérose"
    r"|cukrzyc\w+|nowotw\w+|astm\w+|nadci[sś]nieni\w+|depresj\w+|ci[aą][zż]\w*|tumore|diabete"
    r"|ipertensione|gravidanza|depressione|kanker|zwanger\w*|seizures?|fracture[sd]?|concussion))"
)
_DRUG = (
    r"(?:\w{2,16}(?:pril|sartan|statin|olol|azole|cillin|mycin|floxacin|formin|prazole|oxetine|traline"
    r"|pram|azepam|zolam|tidine|mab|tinib|navir|vudine|ciclovir|caine|triptan|gliptin|gliflozin|glutide"
    r"|dipine|thiazide|semide|parin|xaban|profen|codone|morphone|apine|idone|piprazole|racetam|gabalin|barbital|toin|afil|asone"
    r"|olone|terol)\b|insulin\w*|metformin\w*|aspirin\w*|ibuprofen\w*|paracetamol|acetaminophen"
    r"|warfarin\w*|lithium|morphine|methadone|naloxone|prozac|xanax|zoloft|ritalin|adderall|ozempic"
    r"|truvada|levothyroxin\w*|salbutamol|albuterol|prednison\w*|chemotherap\w+|dialysis"
    r"|antidepress\w+|antibiotic\w*|antiretroviral\w*)"
)
_DOSE = r"\d{1,4}(?:[.,]\d{1,3})?[ ]?(?:mg|mcg|µg|μg|ug|ml|iu|units)\b"
_ICD = r"\b[A-TV-Z]\d[\dAB](?:\.[\dA-Z]{1,4})?\b"
_LAB = (
    r"(?:\b(?:hba1c|a1c|cd4(?: count)?|viral load|ldl|hdl|psa|tsh|bmi|egfr|inr|alt|ast|creatinine"
    r"|cholesterol|triglycerides|h[a]?emoglobin|glucose|blood (?:pressure|glucose|sugar|type|group)"
    r"|blutdruck|blutzucker|blutgruppe|grupo sangu[ií]neo|groupe sanguin|grupa krwi)\b"
    r"[^\n.;]{0,24}?(?:\d{1,3}(?:[.,/]\d{1,3})?|\b(?:A|B|AB|O)[ ]?(?:[+\-]|pos|neg|rh)))"
)
_MEDICAL = rf"(?:(?i:{_DISEASE}|{_DRUG}|{_DOSE}|{_LAB})|{_ICD})"

_RECORD_FIELD = (
    r"(?i:\b(?:(?:primary |secondary |admitting |discharge |final )?(?:diagnos[ie]s|dx)"
    r"|medications?|current meds?|meds|prescri(?:ption|bed)s?|rx|condition|conditions"
    r"|medical (?:history|condition)s?|allerg(?:y|ies)|symptoms|treatment|icd[- ]?(?:10|9)?(?:[- ]?cm)?"
    r"(?: code)?|diagnosis code|lab results?|test results?|blood (?:type|group)|past medical history"
    r"|pmh|reason for (?:visit|admission)|chief complaint|diagnose|diagnosen|medikation|medikamente"
    r"|befund|allergien|blutgruppe|diagn[oó]stico|medicaci[oó]n|alergias|diagnostic|m[eé]dicaments?"
    r"|allergies|rozpoznanie|diagnoza|leki|diagnosi|farmaci|terapia|diagnóstico|medicação))"
)
# One person, by role and name or number, by relation, or by their own word; never "patients".
_ONE = (
    r"(?i:\b(?:patient|client|customer|employee|member|claimant|policyholder|paciente|patientin|pacjent"
    r"(?:ka)?|paziente|cliente|kunde|kundin|mitarbeiter(?:in)?|empleado|empleada|pracownik|dipendente)"
    r"(?:'s)?[ ]?(?:(?:name|id|no\.?|number|nr\.?|#)?[:# ]{1,3}))"
    r"(?:[A-ZÀ-ÞĀ-Ž][\wÀ-ž'’.\-]{0,20}[ ,]|[A-Z]{0,4}[\-]?\d{2,})"
)
_OWN = (
    r"(?i:\b(?:i was|i am|i'm|i have|i've|i had|i take|i suffer|i got|i tested|my (?:own )?(?:doctor|gp"
    r"|diagnosis|medication|prescription|condition|illness|blood|therapist|psychiatrist|oncologist)"
    r"|(?:my|his|her|their|our) (?:husband|wife|son|daughter|mother|father|mom|mum|dad|brother|sister"
    r"|partner|child|baby|colleague|boss|neighbou?r|employee|patient|client)"
    r"|(?:mr|mrs|ms|miss|herr|frau|pan|pani|sr|sra|mme|sig)\.?[ ][\wÀ-ž'’.\-]{2,20}(?:[ ][\wÀ-ž'’.\-]{2,20}){0,3}?"
    r"|ich (?:habe|leide|nehme|bin)|bei mir wurde|tengo|padezco|me diagnosticaron|tomo|je suis|j'ai"
    r"|je prends|mam|choruj[eę]|bior[eę]|ho il|soffro|prendo|tenho))"
)
_TIE = (
    r"(?i:(?:diagnosed (?:with|as)|diagnosis (?:is|of|was)|suffer(?:s|ed|ing)? from|treated for|living with"
    r"|tested positive|has a history of|history of|prescribed|takes|taking|on \w+|allergic to|is positive"
    r"|recover(?:s|ing|ed) from|being treated|was hospitali[sz]ed|admitted (?:for|with)|undergo\w+"
    r"|undergoing|has|have|had|with|is|am|was|take|takes|mit|an|unter|de|da|na|du|un|une)\b)"
)
# A person by full name, or as the record's subject, with what is said of patients alone.
_SUFFERS = (
    r"(?i:was diagnosed with|has been diagnosed with|tested positive|came back positive"
    r"|blood test|test results? (?:show|reveal)|suffers? from|is being treated|(?:takes|is on|has been on|was prescribed|is prescribed"
    r"|is taking)\b|therapist|psychiatrist|oncologist|medical (?:record|file|history)|souffre d|est atteinte? d|padece|sufre de|leidet (?:an|unter)"
    r"|choruje na|cierpi na|soffre di|sofre de|medication|has been on)"
)
_NAMED = (
    r"(?:\b[A-ZÀ-Þ][a-zà-ž'’\-]{1,20}(?:[ ][A-ZÀ-Þ]\.)?[ ][A-ZÀ-Þ][A-Za-zà-ž'’\-]{1,20}(?:['’]s)?"
    r"|(?i:\b(?:his|her|their|the claimant|the patient|the employee|the customer|the client|she|he)\b))"
    rf"[ ,](?:[\w\-]{{1,14}}[ ]){{0,2}}?{_SUFFERS}"
)
# Lives that are told in public: an office, an art, a year.
_KNOWN = re2.compile(
    r"(?i)\b(?:actor|actress|singer|president|prime minister|author|writer|novelist|musician|composer|painter|scientist|physicist|king|queen"
    r"|footballer|player|politician|senator|emperor|saint|born in|died (?:in|of)|\(?(?:1[5-9]|20)\d\d\)?|novel|film|movie|series|character|episode"
    r"|album|biograph\w+|mice|mouse|rats?|the study|participants|cohort|percent|%)"
)


def _of_nobody_known(text: str, start: int, end: int) -> bool:
    return _KNOWN.search(text[max(0, start - 160) : end + 80]) is None


def _of_somebody(text: str, start: int, end: int) -> bool:
    line = text[max(0, start - 90) : start]
    line = line[max(line.rfind("\n"), line.rfind(" of "), line.rfind(" for ")) + 1 :]
    return _of_nobody_known(text, start, end) and not is_common(line.split(":")[0])


_THE_PATIENT = (
    r"(?i:\b(?:the|this|our|my|your|her|his) (?:patient|client|claimant|employee|applicant))"
)
# Guidelines speak of a patient who may be anybody.
_SUPPOSED = re2.compile(
    r"(?i)\b(?:if|when|where|whether|unless|once|until|suppose|assum\w+|should|may|might|must|can|could|in case"
    r"|e\.g|for example|guideline\w*|protocol|\?)"
)


def _not_supposed(text: str, start: int, end: int) -> bool:
    line = text[max(0, start - 120) : start]
    sentence = line[max(line.rfind(mark) for mark in ".!?\n") + 1 :]
    return _SUPPOSED.search(sentence) is None and _of_nobody_known(text, start, end)


# About one person without a name: only what cannot be said of a disease at large.
_FILED = (
    r"(?i:\b(?:mrn|medical record(?: number| no)?|patient (?:id|no|number|#|record)|nhs (?:no|number)"
    r"|date of birth|dob|insurance (?:id|no|number)|policy (?:no|number)|member id|case no)\b)"
)
_PATIENT = r"\b(?i:patient(?:in)?|paciente|pacjent\w*|paziente)[ :]{1,2}[A-ZÀ-Þ][a-zà-ž]{1,20}[ ][A-ZÀ-Þ][a-zà-ž]"
_SOMEBODY = (
    r"(?:(?i:our |the )?(?i:patient|customer|client|employee|member|user|mr|mrs|ms|herr|frau)\.?[ ])?"
    r"[A-ZÀ-ÞĀ-Ž][a-zà-ž'’\-]{1,20}(?:[ ][A-ZÀ-Þ]\.)?[ ][A-ZÀ-ÞĀ-Ž][A-Za-zà-ž'’\-]{1,20}"
)
_RESULT = (
    r"(?i:\b(?:(?:test|lab|blood|biopsy|scan|screening|mri|x-ray|pcr|hiv|covid) (?:test )?(?:results?|report)|blood (?:type|group|test)|diagnos[ie]s"
    r"|prescription|medications?|allerg(?:y|ies)|medical (?:condition|history|record)|hiv status|blutgruppe|diagnose|befund|grupo sangu[ií]neo"
    r"|groupe sanguin|grupa krwi))"
)
_OUTCOME = r"\b(?:(?i:positive|negative|reactive|abnormal|malignant|benign)|(?:A|B|AB|O|0)[ ]?(?:[+\-]|(?i:positive|negative|pos|neg|rh)))"
_REASON = "The text ties a medical term to one person."

HEALTH_FINDERS: tuple[Shaped, ...] = (
    cued(
        HEALTH,
        "context.health-person",
        rf"{_ONE}[^\n.;]{{0,60}}?(?P<value>{_MEDICAL})",
        reason=_REASON,
        shape=_ONE,
    ),
    cued(
        HEALTH,
        "context.health-patient",
        rf"{_THE_PATIENT}[ ](?i:(?:now|also|still|already|recently|previously)[ ])?"
        r"(?i:(?:has|had|suffers from|was diagnosed with|is being treated for|is allergic to|takes"
        r"|is on|tested positive for)[ ])[^\n.;]{0,30}?"
        rf"(?P<value>(?i:{_DISEASE}|{_DRUG}))",
        reason=_REASON,
        shape=_THE_PATIENT,
        accept=_not_supposed,
    ),
    cued(
        HEALTH,
        "context.health-told",
        rf"{_OWN}[^\n.;]{{0,30}}?\b{_TIE}[^\n.;]{{0,30}}?(?P<value>(?i:{_DISEASE}|{_DRUG}|{_LAB}))",
        reason=_REASON,
        shape=_OWN,
    ),
    cued(
        HEALTH,
        "context.health-named",
        rf"{_NAMED}[^\n.;]{{0,40}}?(?P<value>(?i:{_DISEASE}|{_DRUG}))",
        reason=_REASON,
        shape=_SUFFERS,
        accept=_of_nobody_known,
    ),
    cued(
        HEALTH,
        "context.health-named",
        r"\b[A-ZÀ-Þ][a-zà-ž]{2,16}[ ](?i:(?:was|has been|is) diagnosed with)[ ](?:[\w\-]{1,12}[ ]){0,3}?"
        rf"(?P<value>(?i:{_DISEASE}))",
        reason=_REASON,
        shape=r"(?i)diagnosed with",
        accept=_of_nobody_known,
    ),
    cued(
        HEALTH,
        "context.health-named",
        r"(?i:\b(?:is|was|are|am|i'm|tested)[ ])(?P<value>(?i:(?:hiv|covid(?:-19)?|hepatitis [abc])[ \-]positive))\b",
        reason=_REASON,
        accept=_of_nobody_known,
    ),
    cued(
        HEALTH,
        "context.health-of",
        rf"{_RESULT}[ ](?i:of|for|von|de|di)[ ]{_SOMEBODY}(?:'s)?(?:[ ]?[:=,\-]|[ ](?i:is|was|are|were|came back|shows?))[^\n.;]{{0,40}}?"
        rf"(?P<value>{_MEDICAL}|{_OUTCOME})(?:[ ]?[.,;:)!\n]|[ ]?\z|[ ](?i:for|since|on|\()|[ ]?%)",
        reason=_REASON,
        shape=_RESULT,
        accept=_of_somebody,
    ),
    cued(
        HEALTH,
        "context.health-line",
        rf"(?m:^|[.;][ ])[ \t\-*]{{0,4}}{_SOMEBODY}(?:[ ]?[:\-]|,)[ ](?P<value>(?i:(?:severely |highly )?allergic to [^\n.;]{{3,60}}"
        rf"|(?:diagnosed with|suffers from|treated for|tested positive for|prescribed|takes)[ ][^\n.;]{{0,24}}?(?:{_DISEASE}|{_DRUG})))",
        reason=_REASON,
        shape=r"(?i)[:,\-] (?:severely |highly )?(?:allergic to|diagnosed with|suffers from|treated for|tested positive|prescribed|takes)",
        accept=_of_somebody,
    ),
    cued(
        HEALTH,
        "context.health-file",
        rf"{_FILED}(?s:.{{0,160}}?)(?P<value>{_MEDICAL})",
        reason="A medical term stands in the record of one person.",
        shape=_FILED,
    ),
    cued(
        HEALTH,
        "context.health-before-file",
        rf"{_RECORD_FIELD}{COLON}[^\n]{{0,30}}?(?P<value>{_MEDICAL})(?s:.{{0,160}}?)(?:{_FILED}|{_PATIENT})",
        reason="A medical term stands in the record of one person.",
        shape=f"{_FILED}|{_PATIENT}",
    ),
)

HEALTH_KEYS = words(
    """diagnosis diagnoses primarydiagnosis secondarydiagnosis dx icd10 icd10code icd9 icdcode
    diagnosiscode medication medications currentmedications prescription prescriptions allergy
    allergies medicalcondition medicalconditions condition conditions medicalhistory healthcondition
    bloodtype bloodgroup labresult labresults hivstatus disability pregnancy pregnant treatment
    symptoms chiefcomplaint vaccination vaccinations diagnose medikation diagnostico diagnóstico
    medicacion alergias rozpoznanie leki diagnosi mentalhealth healthstatus"""
)
PLAIN_HEALTH_KEYS = words(
    "bloodtype bloodgroup hivstatus medicalhistory medicalcondition healthcondition icd10 icd10code"
)
_VALUE = re2.compile(_MEDICAL)
_ALLERGEN = re2.compile(
    r"(?i)\b(?:penicillin|peanuts?|latex|pollen|shellfish|sulfa|nuts|dust|gluten)\b"
)
_NOTHING = re2.compile(
    r"(?i)\A\W*(?:none|n/?a|null|unknown|string|true|false|no|text|nil|object)?\W*\z"
)


def is_health_value(key: str, text: str) -> bool:
    """Whether what stands under a squashed key for health data is a medical term."""
    if _NOTHING.match(text) is not None:
        return False
    if key in PLAIN_HEALTH_KEYS and len(text) <= 200:
        return True
    return _VALUE.search(text) is not None or (
        key.startswith(("allerg", "alerg")) and _ALLERGEN.search(text) is not None
    )
