"""Rules for biometrics, photographs and other unique codes (P, Q, R)."""

from __future__ import annotations

from catalog.deid.rule import DeidRule, labelled_rule, words_of

_KEPT = (
    "templates?|record|hash|sample|file|enrol?lments?|enrol?led|match|matched|reference|card|token|"
    "signature|number|id|identifier|minutiae|database|on file|captured|registered|scan(?:ned)?|"
    "image|"
    "recording|code|taken|obtained|collected|stored|verified|verification|identification|reader|"
    "login|unlock|data|was|were|used"
)

_PICTURES = words_of(
    "photo photos photograph photographs picture pictures portrait portraits shot shots selfie "
    "selfies pic pics video image images photographic snapshot snapshots headshot headshots "
    "facephoto headshot"
)

CODE_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="biometric",
        letter="P",
        pattern=r"\b(?P<v>(?i:finger ?-?prints?|thumb ?-?prints?|voice ?-?prints?|palm "
        r"?-?prints?|palm vein|face ?-?prints?|facial recognition|hand geometry|retina(?:l)? "
        r"(?:scan|print|template)|iris (?:scan|print|template|code|recognition)|biometrics?|dna "
        r"(?:profile|fingerprint)|foot ?-?prints?|gait signature|vein pattern)[ "
        rf",:]{{1,2}}(?:(?i:and|of|are|is|has|have|been|had|for) ){{0,3}}(?i:{_KEPT})|(?i:iris|"
        r"retinal?|palm|hand geometry|finger ?-?print|voice ?-?print|vein) template)\b",
        example="fingerprint template on file",
        near_miss="retinal scan showed drusen",
        context=(
            *("fingerprint", "fingerprints", "finger", "thumbprint", "thumbprints", "thumb"),
            *("voiceprint", "voiceprints", "voice", "palmprint", "palmprints", "palm", "faceprint"),
            *("faceprints", "facial", "hand", "retina", "retinal", "iris", "biometric"),
            *("biometrics", "dna", "footprint", "footprints", "gait", "vein", "face", "foot"),
        ),
        check="biometric",
    ),
    DeidRule(
        id="biometric_reference",
        letter="P",
        pattern=r"\b(?P<v>(?i:(?:identified|identity (?:confirmed|verified|established|was "
        r"confirmed|was verified)|confirmed|verified|enrol?led|checked in|unlocked|authenticated|"
        r"logged in|matched|signed in|registered)(?: \w+){0,3} (?:by|with|via|using|through)(?: "
        r"\w+){0,3} (?:finger ?-?print|thumb ?-?print|voice ?-?print|palm(?: ?-?print| vein)|"
        r"iris|retinal?|facial recognition|face id|biometric)[a-z]*))\b",
        example="identity confirmed by thumbprint",
        near_miss="identity confirmed by wristband",
        context=words_of(
            "finger thumb voice palm iris retina retinal facial face biometric biometrics "
            "biometrically fingerprint fingerprints fingerprinting thumbprint thumbprints "
            "voiceprint voiceprints palmprint palmprints"
        ),
    ),
    DeidRule(
        id="biometric_recording",
        letter="P",
        pattern=r"\b(?P<v>(?i:(?:audio|voice|speech)[ -]?(?:recording|sample|clip|file) (?:of|"
        r"from) (?:the |this )?(?:patient|pt|him|her|his|mr|mrs|ms|client)|recording of (?:the |"
        r"this )?(?:patient|pt|client|his|her)(?:'s)? (?:own )?voice))\b",
        example="voice recording of the patient",
        near_miss="voice recording system",
        context=("audio", "voice", "speech", "recording"),
    ),
    DeidRule(
        id="photograph_of_face",
        letter="Q",
        pattern=r"\b(?P<v>(?i:full[- ]?face|facial|face|identifiable|head(?:[- ]and[- "
        r"]shoulders?)?|identification|id|passport|portrait|family|wedding|frontal|profile|mug|"
        r"head) ?-?(?i:photo(?:graph)?s?|pictures?|portraits?|shots?|selfies?|pics?|video|image "
        r"of (?:the )?(?:patient|face)|photographic images?))\b",
        example="full-face photograph",
        near_miss="fundus photograph",
        check="photograph",
        context=_PICTURES,
    ),
    DeidRule(
        id="photograph_of_person",
        letter="Q",
        pattern=r"\b(?P<v>(?i:(?:photo(?:graph)?s?|pictures?|pics?|video|selfies?|snapshots?|"
        r"portraits?|headshots?|images?(?= of (?:the |his |her |their )?(?:patient's )?face)) "
        r"(?:taken |shown |attached )?(?:of|showing|with|depicting) (?:the |his |her |their |a |"
        r"this )?(?:[a-z]+(?:'s)? )?(?:(?:full |smiling |entire |whole )?face\b|patient's "
        r"(?:full |entire )?face|(?:patient|pt|himself|herself|family|child|baby)\b(?!['-])|"
        r"(?:him|her)(?=[.,;)]| (?:in|at|on|with|was|is)\b|$))))",
        example="photograph of the patient's face",
        near_miss="photograph of the wound",
        check="photograph",
        context=_PICTURES,
    ),
    DeidRule(
        id="photograph_word",
        letter="Q",
        pattern=r"\b(?P<v>(?i:selfies?|mug ?shots?|headshots?|head ?shots?|facial photography|"
        r"photo ?id|face scan|passport photo))\b",
        example="a selfie from his phone",
        near_miss="a self from before",
        context=(
            *("selfie", "selfies", "mugshot", "mugshots", "mug", "headshot", "headshots", "head"),
            *("facial", "photo", "photoid", "face", "passport"),
        ),
    ),
    DeidRule(
        id="photograph_file",
        letter="Q",
        pattern=r"(?<![\w])(?P<v>[\w()~/.-]{1,120}\.(?i:jpe?g|png|heic|heif|tiff?|bmp|gif|raw|"
        r"mp4|mov))\b",
        example="IMG_4417.jpg",
        near_miss="the jpg format",
        gate="dot",
        context=words_of("jpg jpeg png heic heif tif tiff bmp gif raw mp4 mov mp"),
    ),
    DeidRule(
        id="code_uuid",
        letter="R",
        pattern=r"(?<![\w-])(?P<v>[0-9A-Fa-f]{8}[- ][0-9A-Fa-f]{4}[- ][0-9A-Fa-f]{4}[- ]"
        r"[0-9A-Fa-f]{4}[- ][0-9A-Fa-f]{12})(?![\w-])",
        example="3f2b8c1e-4417-4a6d-9c3e-0b7d5a1f2e44",
        near_miss="3f2b8c1e-4417-4a6d-9c3e",
        gate="digit",
    ),
    DeidRule(
        id="code_hash",
        letter="R",
        pattern=r"(?<![\w-])(?P<v>[0-9a-f]{32,128}|[0-9A-F]{32,128})(?![\w-])",
        example="9e107d9d372bb6826bd81d3542a419d6",
        near_miss="9e107d9d372bb6826bd8",
        gate="digit",
    ),
    DeidRule(
        id="code_long",
        letter="R",
        pattern=r"(?<![\w-])(?P<v>(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{14,64})(?![\w-])",
        example="QX44T17B7B36ZZ",
        near_miss="dihydroxyvitaminD3",
        gate="digit",
        check="is_mixed_code",
    ),
    labelled_rule(
        "code_labelled",
        "R",
        r"(?:accession|specimen|study|subject|trial|case|sample|participant|enrol?lment|barcode|"
        r"token|employee|badge|student|order|requisition|referral|ticket|confirmation|tracking|"
        r"prescription|rx|script|incident|household|family|pedigree|biobank|donor|reference|ref|"
        r"report|report card|user|login|client|customer|inmate|prisoner|booking|service|military|"
        r"taxpayer|tax|itin|ein|wristband|bracelet|research|screening|randomi[sz]ation|"
        r"authori[sz]ation|auth|access|pin|personal identification|identification|national|"
        r"citizen|cpr|personnummer|immigration|alien|a-number|voter|library|locker|room key|"
        r"order entry|slide|block|path(?:ology)?|cassette|kit|lab|dictation|job|document|doc|"
        r"transaction|session|unique|anonymous|pseudonym|linkage|record linkage|cohort|registry|"
        r"survey|respondent|volunteer|membership|loyalty|frequent flyer|police report|court|"
        r"docket|parole|probation|caseworker|foster|medical alert)",
        "accession number S19-4417",
        "case number two, 417 ml",
        context="accession specimen study subject trial case sample participant enrollment "
        "enrolment barcode token employee badge student order requisition referral ticket "
        "confirmation tracking prescription rx script incident household family pedigree biobank "
        "donor reference ref report user login client customer inmate prisoner booking service "
        "military taxpayer tax itin ein wristband bracelet research screening randomization "
        "randomisation authorization authorisation auth access pin personal identification "
        "national citizen cpr personnummer immigration alien voter library locker room slide block "
        "path pathology cassette kit lab dictation job document doc transaction session unique "
        "anonymous pseudonym linkage record cohort registry survey respondent volunteer membership "
        "loyalty frequent police court docket parole probation caseworker foster medical a",
        is_weak=True,
        check="unique_code",
    ),
    labelled_rule(
        "code_bare_id",
        "R",
        r"(?<!\w )(?<![?&])(?:id|identifier|uid|guid|ref|code)",
        "ID: QX-44177",
        "id of 12 patients",
        context="id identifier uid guid ref code",
        is_weak=False,
        check="bare_code",
    ),
    DeidRule(
        id="code_taxpayer",
        letter="R",
        pattern=r"(?<![\w-])(?P<v>9[0-9]{2}-(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|"
        r"9[0-24-9])-[0-9]{4})(?![\w-])",
        example="912-70-4417",
        near_miss="912-93-4417",
        gate="digit",
        check="number",
    ),
    DeidRule(
        id="code_username",
        letter="R",
        pattern=r"\b(?i:user ?name|user ?id|log-?in(?: name| id)?|screen ?name|gamertag|"
        r"(?:portal|skype|twitter|instagram|facebook|tiktok|snapchat|reddit|discord|telegram|"
        r"venmo)(?: user(?: ?name)?| handle| account| id| profile| name)?)(?i: is|:|=| as| "
        r"-){1,2} ?@?(?P<v>[A-Za-z0-9][\w.-]{2,30}[0-9_.-][\w.-]{0,30})",
        example="username: quist_417",
        near_miss="twitter is distracting",
        check="handle",
        context=(
            *("username", "user", "userid", "login", "log", "screen", "screenname", "gamertag"),
            *("portal", "skype", "twitter", "instagram", "facebook", "tiktok", "snapchat"),
            *("reddit", "discord", "telegram", "venmo"),
        ),
    ),
    DeidRule(
        id="code_handle",
        letter="R",
        pattern=r"(?<![\w.@/])(?P<v>@[A-Za-z_][A-Za-z0-9_]{2,29})(?![\w@.]|\s?\d)",
        example="@quist_family",
        near_miss="@ bedside",
        gate="at",
    ),
    DeidRule(
        id="code_password",
        letter="R",
        pattern=r"\b(?i:password|passcode|pass phrase|security (?:answer|code)|pin)(?i: is|:|=|"
        r"#| code is){1,2} ?(?P<v>[^\s,;]{4,40})",
        example="passcode: 441773",
        near_miss="pin site clean",
        gate="digit",
        context=("password", "passcode", "pass", "security", "pin"),
        check="code",
    ),
)
