"""Words around names of persons: relatives, titles, labels, verbs; the context of name rules."""

from __future__ import annotations

from catalog.deid.rule import words_of

RELATIVES = (
    "wife|husband|spouse|son|daughter|mother|mom|father|dad|brother|sister|aunt|uncle|niece|nephew|"
    "cousin|grandson|granddaughter|grandmother|grandfather|partner|fiancee?|friend|roommate|"
    "neighbor|neighbour|caregiver|caretaker|guardian|girlfriend|boyfriend|stepson|stepdaughter|"
    "stepmother|stepfather|colleague|employer|supervisor|boss|coworker|proxy|surrogate"
)
PATIENTS = (
    "patient|pt|client|resident|baby|infant|boy|girl|gentleman|lady|woman|man|child|decedent|"
    "donor|recipient|veteran|employee|student|twin"
)
LABELS = (
    "(?:full |first |last |middle |maiden |given |family |legal |preferred |mother's |father's |"
    "patient(?:'s)? |pt |child's |surname|doctor's |physician |provider |contact |insured |"
    "guarantor |subscriber )?name|surname|guarantor|emergency contact|next of kin|nok|attending|"
    "attending physician|primary care physician|primary care provider|pcp|referring physician|"
    "referring provider|referred by|provider|physician|surgeon|assistant surgeon|assistant|"
    "anesthesiologist|dictated by|signed by|signed|electronically signed by|transcribed by|"
    "reviewed by|seen by|author|witness|interpreter|cc|attn|re|operator|technologist|"
    "radiologist|pathologist|reported by|requested by|ordering provider|informant|contact|"
    "contact person|emergency contact person|health care proxy|subscriber|insured|mother|father|"
    "spouse|signature"
)
BY = (
    "signed|dictated|seen|evaluated|examined|performed|reviewed|transcribed|accompanied|referred|"
    "assisted|interviewed|read|verified|approved|prepared|written|ordered|attested|cosigned|"
    "co-signed|authenticated|completed|administered|brought in|provided|obtained|followed|"
    "witnessed|"
    "consented|requested|driven|raised|admitted|operated on|treated|documented|entered|authored"
)
WITH = (
    "spoke with|spoken with|speak with|talked with|talked to|discussed with|discussed by phone "
    "with|"
    "met with|consulted with|contacted|called|notified|informed|paged|per|lives with|"
    "follow up with|follow-up with|followed up with|appointment with|visit with|care of|c/o|"
    "report to|return to see|return to|sees|saw|told|asked|advised|reached|counseled|named"
)
VERBS = (
    "is an? [0-9]|is (?:a|our|my|the|tolerating|eating|doing|alert|awake|ambulating|resting|"
    "sleeping|"
    "intubated|sedated|afebrile|voiding|refusing|complaining) |was (?:seen|admitted|"
    "discharged|transferred|referred|"
    "brought|extubated|intubated|agitated|counseled|instructed|advised|reassured|tearful|"
    "awake|alert|"
    "resting|sleeping|confused|"
    "evaluated|born|taken|examined|found|last seen|diagnosed|accompanied|started on)|presented|"
    "ambulated|presents|reports|reported|denies|denied|states|stated|complains|complained|"
    "underwent|arrived|"
    "endorses|endorsed|lives|lived|tolerated|says|said|told|agreed|agrees|called|returns|"
    "returned|smokes|drinks|"
    "works|"
    "understands|signed|consented|feels|felt|remains|will (?:follow|return|be|need)|has (?:been|"
    "had|"
    "a )|had |came |comes |continues|requested|declined|refused|wants|also (?:reports|denies)"
)

ROLE_LABELS = (
    r"sister|father|reverend|rev\.|judge|officer|detective|sergeant|sgt\.?|captain|capt\.?|"
    r"lieutenant|lt\.|colonel|col\.|major|attorney|rabbi|imam|pastor|deacon|nurse|hon\.|therapist|"
    r"midwife|paramedic|coach|social worker|case manager|chaplain|senator|counselor|pharmacist|"
    r"dietitian|resident|intern|surgeon|interpreter|translator|aide"
)
RELATIVE_VERB = (
    r",? (?:was|is|has|had|who|will|holds|manages|lives|helps|died|also|takes|brought|says|"
    r"states)\b"
)

NAMING = words_of("name names named nicknamed goes called maiden addressed alias nee k b")
ROLES = words_of(
    "sister father reverend rev judge officer detective sergeant sgt captain capt lieutenant lt "
    "colonel col major attorney rabbi imam pastor deacon nurse hon therapist midwife paramedic "
    "coach interpreter translator aide worker manager chaplain senator counselor pharmacist "
    "dietitian resident intern "
    "surgeon"
)
CREDENTIALS = words_of(
    "md m do d rn r np n pa p phd ph dds dmd dpm lcsw lpn crna fnp arnp aprn pharmd mbbs frcs facs "
    "facc facp esq dvm psyd lmft msw bsn msn cnm rph dpt"
)
TITLES = words_of(
    "mr mrs ms mx dr drs prof sr sra mme hr fr miss missus mister doctor doctors professor herr "
    "frau senor senora"
)
RELATIVE_WORDS = tuple(RELATIVES.replace("fiancee?", "fiance|fiancee").split("|"))
PATIENT_WORDS = tuple(PATIENTS.split("|"))
CONTACT_WORDS = words_of(
    "spoke spoken speak talked discussed met consulted contacted called notified informed paged "
    "per lives follow followed appointment visit care c report return sees saw told asked "
    "advised reached counseled named"
)
GREETINGS = words_of(
    "hi hello hey dear morning afternoon evening thanks thank good bye goodbye welcome sorry "
    "okay ok yes no sure well come"
)
VERB_WORDS = words_of(
    "is was presented presents reports reported denies denied states stated complains complained "
    "ambulated underwent arrived endorses endorsed lives lived tolerated says said told "
    "agreed agrees called returns returned "
    "smokes drinks works understands signed consented feels felt remains will has had came comes "
    "continues requested declined refused wants also"
)
