"""Rules for geography below the state (B): streets, towns, counties, postal codes."""

from __future__ import annotations

from catalog.deid import gazetteer
from catalog.deid.rule import TITLED, DeidRule, words_of

STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|"
    "NJ|NM|NY|NC|ND|OH|OK|OR|PA|PR|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|AA|AE|AP"
)
STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|"
    "Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|"
    "Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|"
    "New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|"
    "Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|"
    "West Virginia|Wisconsin|Wyoming|Puerto Rico|Ontario|Quebec|Alberta|Manitoba|British Columbia|"
    "Nova Scotia|Germany|France|Italy|Spain|Mexico|Canada|England|Scotland|Ireland|India|China|"
    "Japan|Brazil|Finland|Sweden|Norway|Denmark|Poland|Hungary|Austria|Switzerland|Portugal"
)
_SUFFIX = (
    "Street|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Terrace|Ter|"
    "Place|Pl|Circle|Cir|Highway|Hwy|Parkway|Pkwy|Square|Sq|Trail|Trl|Loop|Row|Crescent|Cres|"
    "Close|Alley|Turnpike|Tpke|Pike|Expressway|Plaza|Route|Walk|Mews|Grove|Gardens|Point|Ridge|"
    "Crossing|Run|Commons|Heights|Estates|Hollow|Bend|Landing|Path|Broadway|Glen|Rise|Manor"
)
_DIRECTION = r"(?:[NSEW]\.?|N\.?[EW]\.?|S\.?[EW]\.?|(?i:north|south|east|west)(?:(?i:east|west))?)"
_TOWN = (
    r"(?:(?:St\.?|Saint|Fort|Ft\.?|Mount|Mt\.?|Port|New|San|Santa|El|La|Las|Los|Le|Lake|East|"
    rf"West|North|South|Point) )?{TITLED}(?:[ -]{TITLED}){{0,2}}"
)
_LOW_TOWN = r"[a-z][a-z'-]+\.?(?: [a-z][a-z'-]+){0,2}"
_CAPS_TOWN = r"[A-Z]{3,}(?: [A-Z]{3,}){0,2}"
_LIVING = (
    "lives? (?:alone |currently |now |by (?:himself|herself) )?(?:in|at|near|outside(?: of)?)|"
    "living in|lived in|resid(?:es?|ing|ed) in|residence in|moved (?:here |"
    "back |recently )?(?:to|from)|relocated (?:to|from)|born (?:and raised )?in|native of|"
    "originally from|"
    "resident of|grew up in|raised in|(?:home|house|apartment|condo|job|works|worked|working|"
    "office|clinic|"
    "hospital|facility|school|church|shelter|practice|farm|store|factory) in|city of|town of|"
    "village of|township of|"
    "suburb of|borough of|travel(?:l?ed|l?ing|s)? (?:to|from|in)|trip to|drove (?:in )?from|"
    "drives? "
    "from|flew (?:in )?from|transferred from|comes? from|coming from|came from|hails from|"
    "returned from|visiting(?: from)?|visited|vacation(?:ed|ing)? in|(?:am|is|are|was|were|he's|"
    "she's|I'm) from|emigrated from|immigrated from|stationed in|incarcerated in|headed to|"
    "family in|(?:sister|brother|son|daughter|mother|father|parents) in|hometown(?: of| is|:)|"
    "place of birth(?: is|:)?|birthplace(?: is|:)?|city(?: is|:)|town(?: is|:)|"
    "practices in|employed in|accident in|seen in|back to|stays? in|staying in"
)

_LIVING_WORDS = words_of(
    "live lives living lived resides reside residing resided residence moved relocated born native "
    "originally resident grew raised home house apartment condo job works worked working office "
    "clinic hospital facility school church shelter practice farm store factory city town village "
    "township suburb borough travel travels traveled travelled traveling travelling trip drove "
    "drive drives flew transferred come comes coming came hails returned visiting visited "
    "vacationed vacationing am is are was were he she i m emigrated immigrated stationed "
    "incarcerated headed family sister brother son daughter mother father parents hometown place "
    "birthplace practices employed accident seen back stay stays staying"
)

_LISTED_WORDS = tuple(
    sorted({city.split(" ")[-1].strip(".") for city in gazetteer.cities(needs_context=False)})
)

PLACE_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="street_address",
        letter="B",
        pattern=rf"(?<![\w.,/-])(?P<v>[1-9][0-9]{{0,5}}[A-Za-z]?(?:-[0-9]+)?,? (?:{_DIRECTION} )?"
        r"(?:(?:[A-Z][\w.'-]*|[0-9]+(?:st|nd|rd|th)|of|the|de|la|del|and) ){1,4}"
        rf"(?:{_SUFFIX}|{_SUFFIX.upper()})\b\.?)",
        example="4417 North Alder Ridge Road",
        near_miss="saw 2 residents and Dr. Street",
        gate="digit",
        check="address",
    ),
    DeidRule(
        id="street_address_lowercase",
        letter="B",
        pattern=r"(?<![\w.,/-])(?P<v>[1-9][0-9]{1,5} (?:(?:north|south|east|west|n|s|e|w)\.? "
        r")?(?:[a-z]+ ){1,3}"
        r"(?:street|avenue|ave|road|rd|boulevard|blvd|lane|drive|court|parkway|terrace|circle))\b",
        example="4417 alder ridge road",
        near_miss="walked 20 feet down the road",
        gate="digit",
        context=words_of(
            "street avenue ave road rd boulevard blvd lane drive court parkway terrace circle"
        ),
        check="address_lowercase",
    ),
    DeidRule(
        id="street_named_road",
        letter="B",
        pattern=r"\b(?P<v>[0-9]{1,6} (?:Highway|Hwy|Route|Rte|State Road|County Road|CR|SR|FM|"
        r"Avenue|"
        r"Ave|Rue|rue|Broadway|Via|Calle|Rua|Avenida|Strada)\b\.?(?: (?:[0-9]+\w?|de|la|du|des|"
        r"[A-Z][\w'-]*)){0,4})",
        example="4417 County Road 12",
        near_miss="see Route 4417",
        gate="digit",
        check="address",
    ),
    DeidRule(
        id="street_then_number",
        letter="B",
        pattern=r"\b(?P<v>(?:(?:Via|Rua|Calle|Rue|Avenida|Avenue|Plaza|Piazza|Viale|Corso|Ulica|"
        r"ul\.|Strada|Route de|Chemin)"
        r"(?: (?:d[aeiou]s?|del|della|la|le|el|[A-Z][\w'.-]*)){1,4}"
        r"|[A-Z][a-z]+(?:strasse|str\.|straat|gata|gatan|vej|veien|vegen|gade|gasse|weg|plein|"
        r"laan|allee|platz|katu|tie|kuja|utca|ulica)"
        r"),? [0-9]{1,5}[a-zA-Z]?)\b",
        example="Lindenstrasse 14",
        near_miss="Via central line 14",
        gate="digit",
    ),
    DeidRule(
        id="street_by_context",
        letter="B",
        pattern=r"\b(?i:address(?: is|:| was)?|(?:lives?|living|resid(?:es|ing|ed)|stay(?:s|ing)|"
        r"located|situated|house|apartment|home)(?: is)? (?:at|on)|drops (?:you |him |her )?off "
        r"at|deliver(?:ed)? to|mail(?:ed)? to|ship(?:ped)? to|corner of) (?:it is "
        r")?(?P<v>[0-9]{1,5},? (?:[0-9]{1,4} )?[A-Za-z][\w.'-]*(?: [A-Za-z][\w.'-]*){0,3}(?: "
        r"[0-9]{1,4})?)",
        example="lives at 417 Harjukuja 54",
        near_miss="lives at home, 417 steps",
        gate="digit",
        context=words_of(
            "address lives live living resides residing resided stays staying located situated "
            "house apartment home drops deliver delivered mail mailed ship shipped corner"
        ),
        check="address_lowercase",
    ),
    DeidRule(
        id="country_and_code",
        letter="B",
        pattern=rf"\b(?P<v>(?:{STATE_NAMES}|Estonia|Latvia|Lithuania|Belgium|Netherlands|Greece|"
        r"Cyprus|Czechia|Slovenia|Croatia|Serbia|Romania|Bulgaria|Iceland|Uruguay|Argentina|"
        r"Chile|Tunisia|Australia|New Zealand|United Kingdom|South Africa|USA|U\.S\.A\.),? "
        rf"[0-9]{{4,6}})(?![\w-]|[.,]\d)",
        example="Estonia 62488",
        near_miss="Estonia 62.4",
        gate="digit",
        check="country_code",
    ),
    DeidRule(
        id="post_office_box",
        letter="B",
        pattern=r"\b(?P<v>(?i:p\.? ?o\.? ?box|post office box|postal box|PSC|box number)[ "
        r"#:]{1,2}[0-9]{1,6}(?:, Box [0-9]+)?)\b",
        example="P.O. Box 1147",
        near_miss="black box warning",
        gate="digit",
        context=("box", "psc"),
    ),
    DeidRule(
        id="dwelling_number",
        letter="B",
        pattern=r"\b(?P<v>(?:[Aa]pt|APT|[Aa]partment|APARTMENT|[Ss]uite|SUITE|[Ss]te|STE)\.? "
        r"?(?:[Nn]o\.? ?|[Nn]umber |#)?[0-9]{1,5}-?[A-Za-z]?)\b",
        example="Apt. 14B",
        near_miss="apartment on the third floor",
        gate="digit",
        context=("apt", "apartment", "suite", "ste"),
    ),
    DeidRule(
        id="town_and_state",
        letter="B",
        pattern=rf"\b(?P<v>{_TOWN}, ?(?:{STATES}|{STATE_NAMES})(?![A-Za-z]))",
        example="Harrowgate Falls, OH",
        near_miss="Okonkwo, MD",
        gate="upper",
        check="town_and_state",
    ),
    DeidRule(
        id="town_and_state_lowercase",
        letter="B",
        pattern=rf"\b(?P<v>[a-z]{{3,}}(?: [a-z]{{3,}})?,? (?i:{STATE_NAMES}))\b",
        example="spokane, washington",
        near_miss="northern washington",
        is_uncased=True,
        context=tuple(STATE_NAMES.lower().replace(" ", "|").split("|")),
        check="town_lowercase",
    ),
    DeidRule(
        id="town_state_and_zip",
        letter="B",
        pattern=rf"(?P<v>(?:\b(?:{_TOWN}|{_CAPS_TOWN})\s*,?\s+)?\b(?:{STATES}|"
        rf"{STATE_NAMES}),?\s{{1,2}}[0-9]{{5}}(?:-[0-9]{{4}})?)(?![0-9])",
        example="OH 44113",
        near_miss="OR 12345.5",
        gate="digit",
        check="state_zip",
    ),
    DeidRule(
        id="town_by_context",
        letter="B",
        pattern=rf"\b(?i:{_LIVING}) (?:(?i:the|downtown|nearby|rural|suburban|central|city of|"
        rf"greater|northern|southern) )?(?P<v>{_TOWN})",
        example="lives in Harrowgate",
        near_miss="lives in Ohio",
        gate="upper",
        check="town",
        context=_LIVING_WORDS,
    ),
    DeidRule(
        id="town_listed",
        letter="B",
        pattern=rf"\b(?P<v>{TITLED}\.?(?:[ -]{TITLED}){{0,3}})\b",
        example="a clinic near Sacramento",
        near_miss="Seattle score",
        gate="upper",
        check="town_listed",
    ),
    DeidRule(
        id="town_in",
        letter="B",
        pattern=rf"\b(?:[Ii]n|IN|[Aa]t|[Nn]ear|NEAR|[Oo]utside|[Aa]round|[Ff]rom|FROM|[Vv]ia|"
        rf"[Dd]owntown|[Tt]hrough) (?P<v>{_TOWN}|{_CAPS_TOWN})(?=[.,;:)]|\s*$|\n)",
        example="works at a plant in Anderson.",
        near_miss="seen in Clinic.",
        gate="upper",
        check="town_in",
    ),
    DeidRule(
        id="town_lowercase",
        letter="B",
        pattern=r"\b(?:in|near|outside|around|from|to|of|at|via|through|downtown) "
        rf"(?P<v>{_LOW_TOWN})\b",
        example="a clinic near sacramento",
        near_miss="a clinic in ohio",
        is_uncased=True,
        context=_LISTED_WORDS,
        check="town_lowercase",
    ),
    DeidRule(
        id="street_abbreviated_lowercase",
        letter="B",
        pattern=r"(?<![\w.,/-])(?P<v>[1-9][0-9]{1,5} (?:(?:north|south|east|west|[nsew]{1,2})\.? )?"
        r"(?:[0-9]{1,3}(?:st|nd|rd|th) |(?:[a-z][a-z']+\.? ){1,3})"
        r"(?:st|ave?|ln|dr|ct|pl|way|cir|trl|trail|pkwy|hwy|highway|place|plaza|square|sq|ter))\b"
        r"(?=\.?(?:[,;\n]| [A-Z]|\s*$|\. | apt| unit| suite| ste| #| with\b| by\b| in\b| on\b))",
        example="4417 alder ridge ln",
        near_miss="64 slice ct of the chest",
        gate="digit",
        is_uncased=True,
        context=words_of(
            "st av ave ln dr ct pl way cir trl trail pkwy hwy highway place plaza square sq ter"
        ),
        check="street_lowercase",
    ),
    DeidRule(
        id="town_and_state_code_lowercase",
        letter="B",
        pattern=rf"\b(?P<v>{_LOW_TOWN}, ?(?:{STATES.lower()}))\b",
        example="a visitor from spokane, wa",
        near_miss="seen in clinic, or at home",
        is_uncased=True,
        check="town_and_code_lowercase",
        context=tuple(STATES.lower().split("|")),
    ),
    DeidRule(
        id="state_and_zip_lowercase",
        letter="B",
        pattern=rf"\b(?P<v>(?:{STATES.lower()}),? [0-9]{{5}}(?:-[0-9]{{4}})?)(?![0-9])",
        example="spokane, wa 44113",
        near_miss="seen in 12345.5",
        gate="digit",
        is_uncased=True,
        check="state_zip_lowercase",
        context=tuple(STATES.lower().split("|")),
    ),
    DeidRule(
        id="county_lowercase",
        letter="B",
        pattern=r"\b(?P<v>[a-z]{3,}(?: [a-z]{3,})? (?:county|parish|township))\b",
        example="lives in harrow county",
        near_miss="the local county",
        is_uncased=True,
        check="county_lowercase",
        context=("county", "parish", "township"),
    ),
    DeidRule(
        id="town_after_living_lowercase",
        letter="B",
        pattern=r"\b(?:liv(?:es?|ed|ing)|resid(?:es?|ed|ing)|moved|relocated|born|raised|grew up|"
        r"native|stays?|staying|originally|travell?(?:s|ed|ing)?|works?|worked|working)"
        r"(?: (?:alone|currently|now|here))? (?:in|to|from|of|near|outside) "
        rf"(?P<v>{_LOW_TOWN})\b",
        example="lives in harrowgate",
        near_miss="lives in ohio",
        is_uncased=True,
        context=_LIVING_WORDS,
        check="town_after_living_lowercase",
    ),
    DeidRule(
        id="county",
        letter="B",
        pattern=rf"\b(?P<v>(?:{TITLED}(?:[ -]{TITLED})? (?:County|Parish|Township|Borough|"
        rf"Precinct)|(?i:county of|parish of|township of) {TITLED}|(?i:precinct) (?:#|no\.? "
        r")?[0-9]+))\b",
        example="Harrow County",
        near_miss="the County Hospital",
        gate="upper",
        check="county",
        context=("county", "parish", "township", "borough", "precinct"),
    ),
    DeidRule(
        id="zip_labelled",
        letter="B",
        pattern=r"\b(?i:zip|zip ?code|postal ?code|postcode)(?:(?i: ?is| ?of| ?code|:|=|,| in| "
        r"at| area)){0,3} ?#?(?P<v>[0-9]{5}(?:-?[0-9]{4})?|[0-9]{4}(?:-[0-9]{3}| [A-Z]{2})?|"
        r"[0-9]{6}|[0-9]{3} [0-9]{2}|[0-9]{2}-[0-9]{3})\b",
        example="zip code 44113",
        near_miss="zip line, 20 feet",
        gate="digit",
        context=("zip", "zipcode", "postal", "postcode"),
    ),
    DeidRule(
        id="zip_plus_four",
        letter="B",
        pattern=r"(?<![\w-])(?P<v>[0-9]{5}-[0-9]{4})(?![\w-])",
        example="44113-0097",
        near_miss="44113-00979",
        gate="digit",
    ),
    DeidRule(
        id="zip3_restricted",
        letter="B",
        pattern=r"\b(?i:zip ?-?3|zip ?3 (?:code|area|prefix)|zip(?: ?code)?|postal(?: ?code)?|"
        r"3-digit zip|three-digit zip|first (?:three|3) digits(?: of (?:the |his |her )?zip(?: "
        r"?code)?)?)"
        r"(?:(?i: ?is| ?of| ?prefix| ?area| ?code| ?starting(?: with)?| ?beginning(?: with)?| "
        r"starts with|:|=|,)){0,3} ?(?P<v>[0-9]{3})(?:xx|XX|\*\*|--)?(?![0-9])",
        example="ZIP3 036",
        near_miss="ZIP3 021",
        gate="digit",
        context=("zip", "zip3", "postal", "digits"),
        check="zip3",
    ),
    DeidRule(
        id="postcode_british",
        letter="B",
        pattern=r"(?<![\w-])(?P<v>(?:[BEGLMNSW][0-9]{1,2}|[A-PR-UWYZ][A-HK-Y][0-9]{1,2}|"
        r"[EW]C?[0-9][A-Z]|[A-Z]{2}[0-9][A-Z]) (?!1ST|2ND|3RD)[0-9][ABD-HJLNP-UW-Z]{2})(?![\w-])",
        example="EH8 9YL",
        near_miss="L4 2ND",
        gate="digit",
    ),
    DeidRule(
        id="postcode_canadian",
        letter="B",
        pattern=r"(?<![\w-])(?P<v>[ABCEGHJ-NPRSTVXY][0-9][ABCEGHJ-NPRSTV-Z][ "
        r"-]?[0-9][ABCEGHJ-NPRSTV-Z][0-9])(?![\w-])",
        example="K1A 0B1",
        near_miss="C5D 6OO",
        gate="digit",
    ),
    DeidRule(
        id="coordinates",
        letter="B",
        pattern=r"(?<![\w.])(?P<v>-?[0-9]{1,2}\.[0-9]{4,},? ?-?[0-9]{1,3}\.[0-9]{4,}|"
        r"[0-9]{1,2}\u00b0 ?[0-9]{1,2}['\u2032] ?[0-9.]*\"? ?[NS])",
        example="41.49932, -81.69436",
        near_miss="41.49 and 81.69",
        gate="digit",
        check="coordinates",
    ),
)
