"""Words around names of persons: relatives, titles, labels, verbs; the context of name rules."""

from __future__ import annotations

import re

from catalog.deid.person_acts import ACT_WORDS, ACTS
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
    "with|met with|visited with|sat with|conferred with|consulted with|contacted|called|phoned|"
    "texted|emailed|notified|informed|updated|paged|per|lives with|follow up with|follow-up with|"
    "followed up with|appointment with|visit with|care of|c/o|report to|return to see|return to|"
    "sees|saw|told|asked|advised|instructed|reminded|encouraged|reassured|helped|assisted|"
    "reached|counseled|counselled|named"
)
ADDRESSED = (
    r"(?:told|asked|advised|instructed|reminded|encouraged|helped|assisted|counsell?ed) "
    r"(?P<told>{name}),? (?:to|that|not to|if|about|when|how|why|whether)\b|"
    r"(?:(?:spoke|spoken|speak|talked|met|visited|sat|conferred|discussed|discussed by phone) "
    r"with|talked to) (?P<met>{name})(?:,? (?:re|about|regarding|by phone|today|yesterday|this|on "
    r"the phone|over the phone|at bedside|at the bedside|and (?:his|her|family))\b{end})|"
    r"(?:called|phoned|contacted|notified|informed|paged|updated|reassured|saw|reached|texted|"
    r"emailed) (?P<called>{name})(?: (?:with (?:the|his|her|results)|about|re|regarding|back|at "
    r"home|today|yesterday|this morning|by phone|and (?:left|told|informed|discussed|his|her|he|"
    r"she|spoke)|to (?:discuss|inform|notify|let|tell|schedule|remind|follow|check|ask|review|see|"
    r"confirm|reschedule))\b{end})"
)
"""Whom somebody told something or spoke with about something, as a pattern around the name."""

VERBS = (
    r"is (?:a|our|my|the) |was (?:evaluated|examined|taken|found|referred|transferred|last seen|"
    r"admitted|started on)|presented|arrived|signed|works|(?<!also )called|agreed|agrees|"
    r"understands|felt|feels|remains|will (?:follow|return|be|need)|has (?:been|had|a )|had |came |"
    r"comes |returns|returned|continues|requested|tolerated|wants|also (?:reports|denies)|" + ACTS
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
CONTACT_WORDS = tuple(dict.fromkeys(re.split("[ /-]", way)[0] for way in WITH.split("|")))
GREETINGS = words_of(
    "hi hello hey dear morning afternoon evening thanks thank good bye goodbye welcome sorry "
    "okay ok yes no sure well come"
)
VERB_WORDS = (*ACT_WORDS, "will", "signed", "also")
