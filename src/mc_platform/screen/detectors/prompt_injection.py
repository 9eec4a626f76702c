"""Wording that tries to take over an agent, or to get at its instructions.

Wording is a sign, no proof, and can be changed at will: what an agent may do is bounded elsewhere
(taint, allow-lists). Hence precision before recall: text that speaks *about* such wording, which
quotes it or describes what attackers do, is left alone where that can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import re2

from mc_platform.screen.detectors.context_words import Accept, cued
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import PROMPT_EXTRACTION, PROMPT_INJECTION, Budget, Finding

_GAP = r"(?:[\s\"'*_,]{1,4}[\w'’]{1,16}){0,5}?[\s\"'*_,]{1,4}"
_OLD = (
    r"(?:previous|prior|preceding|earlier|above|foregoing|original|initial|existing|former|past|other"
    r"|system|safety|developer|your|hitherto|previously given|built-?in|default|standing)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|directives?|rules|guidelines|guardrails|commands?|constraints"
    r"|restrictions|programming|training|system messages?|policies|instruction set|safeguards)"
)
_LEAVE = (
    r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|neglect|discard"
    r"|set aside|pay no (?:attention|heed) to|throw (?:away|out)|abandon|cancel|erase|void|drop|omit"
    r"|(?:do not|don'?t|never|stop|cease|no longer) (?:follow|obey|heed|adher\w+ to|listen\w* to|comply\w* with"
    r"|following|obeying))"
)
_NO_LONGER = r"(?:no longer|not|aren't|not be) (?:bound|restricted|limited|constrained|governed) by"
_FREE = (
    r"(?:DAN\b|unrestricted|uncensored|unfiltered|unbound|jailbroken|amoral|god mode|developer mode|dev mode"
    r"|debug mode|sudo mode|root mode|free (?:of|from) (?:all |any |your )?(?:restrict|rule|filter|limit|constraint|guideline)"
    r"|without (?:any |all |your )?(?:ethic\w* |moral |content |safety )?(?:restrictions|limits|filters"
    r"|rules|guidelines|limitations|censorship|guardrails)|no (?:restrictions|rules|limits|filters"
    r"|guidelines|limitations)|evil\b|no longer (?:an? )?(?:AI|assistant|bound|restricted))"
)

_TREASURE = (
    r"\b(?:(?:this|the|entire|whole|full|our|all) (?:conversation|chat|context|dialog(?:ue)?)(?: history)?|chat history"
    r"|conversation history|(?:user|customer|client|patient|tenant)(?:'s)?s? (?:data|records?|details|list|secrets?)"
    r"|secrets|credentials|api keys?|passwords|access tokens?|system prompt|environment variables|session cookies?"
    r"|private keys?|everything (?:you know|above)|all (?:e-?mails|files|documents|records|messages))\b"
)

_ENGLISH = (
    rf"(?i)\b{_LEAVE}{_GAP}{_OLD}(?:[\s,]{{1,2}}\w{{1,14}}){{0,3}}?[\s,]{{1,2}}{_ORDERS}\b",
    (
        rf"(?i)\b{_LEAVE}[\s]+(?:all |any |every )?(?:of )?(?:the |these |those )?{_ORDERS}\s+(?:above|before"
        r"|(?:that )?(?:you )?(?:were|was|have been|had been|got|received|been) (?:given|told)|given (?:to you|so far|above"
        r"|before|earlier|previously)|preceding|so far|in your|from (?:your|the) (?:system|developer))"
    ),
    (
        rf"(?i)\b{_LEAVE}[\s]+(?:all|everything|anything|whatever|what)\b[\s\w]{{0,16}}?(?:above\b|before this"
        r"|prior to this|you (?:were|have been|had been|was|got) (?:told|taught|instructed|given|trained)"
        r"|you(?:'ve| have)? (?:learned|been told|been given)|(?:told|said) (?:before|earlier|previously|above)|I said before)"
    ),
    rf"(?i)\b(?:you|assistant|AI|model)\b[^.\n]{{0,24}}{_NO_LONGER}[^.\n]{{0,30}}(?:{_ORDERS}|OpenAI|Anthropic|developer|creator)",
    rf"(?i)\byou(?: are|'re| will be| shall be)? (?:now|henceforth|from now on)(?:[\s,]+[\w'-]{{1,16}}){{0,6}}?[\s,]+{_FREE}",
    (
        r"(?i)\b(?:you(?: are|'re) now|you(?: will|'ll)? (?:now )?become|from now on,? you(?: are|'re| will be))(?: called| named| acting as|"
        r" playing)?,? (?:an? |the )?(?:\w{2,16} ){0,2}(?:AI|LLM|chatbot|persona|DAN|hacker|terminal|pirate"
        r"|language model|assistant (?:who|that|named|called|with(?:out)?|whose))\b"
    ),
    (
        rf"(?i)\b(?:pretend|act|role-?play|behave|respond|answer|imagine|simulate)(?:ing)?\b[\s,]+(?:as|to be|that|like|you)"
        rf"[^.\n]{{0,50}}?\b{_FREE}"
    ),
    (
        r"(?i)\bdo anything now\b|\b(?:enter|enable|activate|switch (?:in)?to|initiate|engage) (?:DAN|god|jailbreak"
        r"|unrestricted|uncensored|sudo|no[- ]filter|opposite|evil)[- ]?mode"
    ),
    (
        r"(?i)\b(?:your|all|any) (?:safety|content|ethical|moral|security) (?:guidelines|filters?|polic(?:y|ies)|restrictions|rules"
        r"|protocols|guardrails|constraints|measures) (?:(?:do(?:es)? not|don'?t|no longer) apply|(?:are|is|have been|has been)"
        r" (?:now )?(?:disabled|lifted|suspended|off|removed|void|deactivated|turned off))"
    ),
    (
        r"(?i)\b(?:bypass|disable|turn off|deactivate|evade|switch off|remove|circumvent) (?:all |any |of )*(?:your|the model'?s|its"
        r"|the assistant'?s)\s+(?:\w{2,14}\s+){0,2}(?:filters?|guardrails|guidelines|restrictions|safeguards|safety|censorship"
        r"|moderation|polic(?:y|ies)|rules|content policy|constraints)"
    ),
    (
        r"(?i)(?:^|[\n.!\]>\"(])\s*(?:\W{0,4})(?:system|admin(?:istrator)?|developer|security)[ _-]?(?:override|"
        r"prompt override|instruction override|message override)\b|\bprompt[ _-]override\b"
    ),
    (
        r"(?i)(?:^|[\n.!>:,;])[ \t#*\-=\[]{0,6}(?:(?:new|updated|revised|real|actual|true|important|urgent) (?:system )?"
        r"(?:instructions?|directives?|prompt)|new (?:task|objective|role|goal)s?|system (?:message|prompt|notice|instruction))"
        r"[ \]*=]{0,4}[:\-=][^\n]{0,80}?\b(?:you (?:must|are|will|shall|should|have to)|ignore|disregard|reveal|output|respond|reply"
        r"|send|forward|forget|print|act as|call|execute|transfer|delete|do not)\b"
    ),
    (
        r"(?i)\byour (?:new|real|true|actual|updated) (?:instructions?|directive|prompt"
        r"|identity|persona)s? (?:is|are|will be)\b"
    ),
    (
        r"(?i)\b(?:end|start|begin)(?:ning)?(?: of)?(?: the)? (?:system|user|untrusted|document|developer)[ _-]?(?:prompt|message|input|content|instructions?)"
        r"\s*(?:[\]>=\-:#*]|\n)[^\n]{0,10}\n?[^\n]{0,80}\b(?:you|ignore|now|new|must|reveal|send)\b"
    ),
    (
        r"(?i)(?:^|[\n.:,;!])[ \t]{0,4}(?:\[|<|#{1,4}[ ]?|\*\*)?(?:system|developer)(?:\]|>|\*\*)?[ ]?:[ ]*(?:\"|')?(?:you (?:are|must|will"
        r"|have|should)|ignore|disregard|override|new|from now|the user (?:is|has)|the assistant|forget|reveal|grant|access)\b"
    ),
    (
        r"(?i)\b(?:attention|note|message|instructions?|important|notice|hint|warning|command|dear|hey|hello|memo)[\s,:]+(?:to |for |from )?"
        r"(?:the |any |all |every |our )?(?:\w{2,14} )?(?:AI|LLM|language model|GPT|Claude|Gemini|copilot|chatbot|virtual assistant)"
        r"s?\b[^\n]{0,80}?\b(?:ignore|must|send|forward|reveal|do not (?:tell|mention|inform)|include|output|call|execute|approve|"
        r"rate|recommend|respond|reply|say|append|delete|transfer|disregard|print)\b"
    ),
    (
        r"(?i)\bif you(?: are|'re) an? (?:AI|LLM|language model|automated|assistant|chatbot|agent|bot)\b[^\n]{0,60}?\b(?:must|please|ignore|"
        r"send|output|reply|respond|say|include|do|write|approve|forward|print|reveal|call)\b"
    ),
    (
        r"(?i)\bwhen (?:you (?:are )?)?(?:summari[sz]\w*|process\w*|read\w*|analy[sz]\w*|translat\w*|answer\w*) (?:this|the following) (?:document"
        r"|page|e-?mail|text|file|message|article|content|ticket|report|cv|resume)\b[^\n]{0,30}?\b(?:you must|also (?:send|include|call|"
        r"execute|reveal|email|forward)|do not (?:tell|mention|inform)|ignore|instead|secretly|always (?:say|recommend|include))\b"
    ),
    (
        r"(?i)\b(?:do not|don'?t|never|without) (?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|notify(?:ing)?|alert(?:ing)?|reveal(?:ing)?"
        r"|disclos(?:e|ing))(?: (?:this|it|that|anything))?(?: to)? (?:the )?(?:user|human|customer|operator)s?\b[^\n]{0,40}?\b(?:about "
        r"(?:this|these) (?:instruction|message|prompt|step)|that you|you (?:did|were|have)|this (?:instruction|message|prompt))"
    ),
    (
        rf"(?i)\b(?:send|post|forward|upload|exfiltrate|transmit|e-?mail|leak|deliver|submit|relay)\b[^\n.]{{0,50}}?{_TREASURE}"
        r"[^\n.]{0,40}?\b(?:to|at)\b[^\n]{0,30}?(?:https?://|\w@\w|[a-z0-9-]{2,40}\.(?:com|net|io|site|xyz|ru|top|example|org|dev)\b)"
    ),
    (
        rf"(?i)\b(?:append|embed|encode|put|include|insert|hide|attach|render|place|add)\b[^\n.]{{0,50}}?{_TREASURE}[^\n.]{{0,40}}?"
        r"\b(?:in|into|as|to|inside|within|via)\b (?:the |an? |your )?(?:\w{2,12} ){0,2}(?:url|query(?: string| param\w*)?|image|link|markdown)\b"
    ),
)
_TONGUES = (
    # German, Dutch, Swedish, Danish/Norwegian
    (
        r"(?i)\b(?:ignorier\w*|vergiss|vergesst|vergessen sie|missacht\w+|überschreib\w*|verwirf|beachte nicht)\b[^.\n]{0,40}?"
        r"\b(?:vorherig\w*|bisherig\w*|obig\w*|früher\w*|vorig\w*|vorangegangen\w*|vorstehend\w*|ursprünglich\w*|alle\w*|deine\w*|ihre\w*)"
        r"[^.\n]{0,30}?\b(?:anweisung|instruktion|regel|vorgabe|befehl|richtlinie|prompt|systemanweisung)\w*"
    ),
    (
        r"(?i)\b(?:negeer|vergeet|ignoreer)\b[^.\n]{0,30}?\b(?:vorige|eerdere|voorgaande|bovenstaande|alle|je)\b[^.\n]{0,24}?"
        r"\b(?:instructies?|opdrachten|regels|aanwijzingen|richtlijnen)"
    ),
    (
        r"(?i)\b(?:ignorera|glöm|ignorer|glem|bortse från|se bort fra)\b[^.\n]{0,30}?\b(?:tidigare|föregående|alla|tidligere|forrige|alle)\b"
        r"[^.\n]{0,24}?\b(?:instru\w+|regler\w*|anvisning\w*)"
    ),
    # Romance
    (
        r"(?i)\b(?:ignor[ae]\w{0,2}|olvid[ae]\w{0,2}|descart[ae]\w?|omit[ae]|haz caso omiso|hagan? caso omiso|no sigas|desestim[ae])\b[^.\n]{0,40}?"
        r"\b(?:instrucci\w+|indicaci\w+|reglas|órdenes|directrices|directivas)\b(?:[^.\n]{0,20}?\b(?:anterior\w*|previ[ao]s?|precedentes|de arriba|"
        r"iniciales|originales|recibid\w+|dad[ao]s|del sistema))"
    ),
    (
        r"(?i)\b(?:ignore[zr]?|oublie[zr]?|ne tiens? pas compte|ne tenez pas compte|fai(?:s|tes) abstraction|néglige[zr]?|n'obéis plus|ne suis plus)\b"
        r"[^.\n]{0,40}?\b(?:instructions?|consignes?|règles|directives|ordres)\b(?:[^.\n]{0,20}?\b(?:précédent\w*|antérieur\w*|ci-dessus|initial\w*"
        r"|d'origine|reçu\w*|système|ci dessus))"
    ),
    (
        r"(?i)\b(?:ignor[ai]\w{0,2}|dimentica\w{0,2}|trascura|non (?:considerare|seguire)|scorda)\b[^.\n]{0,40}?\b(?:istruzioni|regole|direttive"
        r"|indicazioni|ordini)\b(?:[^.\n]{0,20}?\b(?:precedent\w*|di cui sopra|iniziali|originali|ricevut\w+|di sistema))|\b(?:ignora|dimentica)\b"
        r"[^.\n]{0,20}\bprecedenti istruzioni\b"
    ),
    (
        r"(?i)\b(?:ignore|esque[cç]a|desconsidere|descarte|não siga)\b[^.\n]{0,40}?\b(?:instruções|regras|diretrizes|ordens|orientações)\b"
        r"(?:[^.\n]{0,20}?\b(?:anteriores|prévias|acima|iniciais|originais|do sistema))"
    ),
    # Slavic, Turkish
    (
        r"(?i)\b(?:zignoruj\w*|ignoruj\w*|zapomnij\w*|pomiń\w*|odrzuć|nie (?:przestrzegaj|zważaj na|stosuj))[^.\n]{0,40}?(?:poprzedni\w*|wcześniejsz\w*"
        r"|powyższ\w*|wszystki\w*|dotychczasow\w*|pierwotn\w*|swoi\w*)[^.\n]{0,30}?(?:instrukcj\w*|polece\w*|zasad\w*|wytyczn\w*|reguł\w*|poleceni\w*)"
    ),
    (
        r"(?i)(?:игнорируй|проигнорируй|забудь|не обращай внимания|игноруй|ігноруй|забудь про)[^.\n]{0,40}?(?:предыдущ|прежн|прошл|все|выше|попередн)"
        r"[^.\n]{0,30}?(?:инструкц|указани|правил|команд|інструкц|вказівк)"
    ),
    r"(?i)\b(?:ignoruj|zapomeň|zabudni)\b[^.\n]{0,30}?(?:předchozí|predchádzajúce|všechny|všetky)[^.\n]{0,24}?(?:instrukc|pokyn|inštrukci|pravidl)",
    r"(?i)(?:önceki|yukarıdaki|tüm)[^.\n]{0,24}?(?:talimat|komut|kural|yönerge)\w*[^.\n]{0,24}?(?:yok say|unut|görmezden gel|dikkate alma)",
    # East and South Asia, Arabic, Hebrew
    r"(?:忽略|无视|無視|忘记|忘記|忽視|不要理会)[^。\n]{0,12}?(?:指令|指示|提示|规则|規則|说明|說明|命令|设定)",
    r"(?:これまで|以前|前|上記|今まで|先)の[^。\n]{0,8}?(?:指示|命令|ルール|プロンプト|設定)[^。\n]{0,8}?(?:無視|忘れ|破棄)",
    r"(?:이전|위|앞|기존)[^.\n]{0,8}?(?:지시|명령|규칙|지침|프롬프트)[^.\n]{0,8}?(?:무시|잊)",
    r"(?:تجاهل|انس|انسَ|تجاهلي)[^.\n]{0,24}?(?:التعليمات|تعليمات|الأوامر|القواعد|الإرشادات)",
    r"(?:התעלם|שכח)[^.\n]{0,24}?(?:הוראות|ההוראות|כללים)",
    r"(?:पिछले|पिछली|सभी|उपरोक्त)[^।\n]{0,16}?(?:निर्देश|आदेश|नियम)[^।\n]{0,16}?(?:अनदेखा|भूल|नज़रअंदाज़|नजरअंदाज)",
)
_DELIMITERS = (
    r"<\|(?:im_start|im_end|system|user|assistant|endoftext|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|endofprompt"
    r"|start|message|channel)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\[/?SYSTEM(?:_PROMPT)?\]\s|<\|?(?:system_prompt|/system)\|?>"
)
_HIDDEN = (
    (
        r"(?is)<!--[^>]{0,300}?\b(?:AI|LLM|assistant|agent|language model|chatbot|model|bot|ignore (?:all|previous|your)|system prompt"
        r"|instructions? (?:for|to))\b[^>]{0,200}?\b(?:must|ignore|send|forward|reveal|output|do not tell|call|execute|include|say|reply"
        r"|respond|approve|transfer|delete|disregard|recommend)\b[^>]{0,400}?-->"
    ),
    (
        r"(?is)<[a-z]{1,10}[^>]{0,120}?(?:display:\s{0,3}none|visibility:\s{0,3}hidden|font-size:\s{0,3}0|opacity:\s{0,3}0[;\"'. ]|color:\s{0,3}"
        r"(?:white|#fff(?:fff)?)\b)[^>]{0,80}>[^<]{0,300}?\b(?:AI|LLM|assistant|language model|chatbot|ignore (?:all|previous|your|any)"
        r"|system prompt|instructions)\b[^<]{0,200}"
    ),
)

_SHOW = (
    r"(?:reveal|show|print|repeat|output|display|tell(?: me)?|give(?: me)?|share|disclose|leak|dump|reproduce|recite|write(?: out| down)?"
    r"|what(?:'s| is| are| was| were)|copy|paste|echo|list|summari[sz]e|translate|encode|expose|describe|provide|return|quote|spell out"
    r"|convert|include|read(?: back| out)?|type|state|rephrase|paraphrase|divulge|send|i want(?: to see)?|let me see|respond with|reply with|begin with)"
)
_INSTRUCTIONS = (
    r"(?:system[ _-]?(?:prompt|message|instructions?)|(?:initial|hidden|secret|original|confidential|internal|base|first|full|exact|core"
    r"|underlying|complete|custom|developer|pre-?programmed|pre-?set|starting|startup|configured|configuration)[ _-](?:system )?(?:prompt|instructions?"
    r"|directives|message|rules|guidelines)|pre-?prompt|meta-?prompt|developer (?:message|prompt)|prompt (?:verbatim|word for word)"
    r"|(?:instructions|rules|guidelines|directives|prompt) (?:verbatim|word for word|above|you (?:were|have been|are|got|received)"
    r" ?(?:given|following|told|configured|programmed)?|given to you|that (?:define|govern|guide) you)|(?:instructions|prompt|rules|guidelines) in full)"
)
_EXTRACTION = (
    rf"(?i)\b{_SHOW}\b(?:[\s\"'*_,]{{1,3}}[\w'’:-]{{1,16}}){{0,7}}?[\s\"'*_,]{{1,3}}(?:your|ur|thy|its own)[\s\"'*]{{1,3}}(?:\w{{1,14}}[\s,]{{1,2}}){{0,3}}?{_INSTRUCTIONS}",
    (
        r"(?i)\b(?:reveal|print|repeat|output|leak|dump|recite|disclose|echo|expose|divulge)\b(?:[\s]{1,2}[\w'’]{1,14}){0,4}?[\s]{1,2}(?:the|this|full|any)"
        r"[\s]{1,2}(?:\w{1,14}[\s]{1,2}){0,2}?(?:system prompt|system message|hidden (?:prompt|instructions)|initial (?:prompt|instructions)|developer (?:message|prompt)"
        r"|secret instructions|pre-?prompt|(?:instructions|rules|prompt) (?:above|you were given|verbatim))"
    ),
    (
        r"(?i)\b(?:repeat|print|output|copy|echo|write|recite|reproduce|return|paste|dump)\b[^.\n]{0,24}?\b(?:everything|all(?: (?:of )?(?:the )?"
        r"(?:text|words|content|tokens|lines))?|the (?:text|words|content|paragraph|lines|message)s?|whatever)\b[^.\n]{0,24}?\b(?:above|before (?:this|my|the user)|preceding"
        r"|prior to (?:this|my)|so far in your context|in your context|starting with [\"'“‘]?you are)"
    ),
    (
        r"(?i)\b(?:what|which) (?:were|are|was) (?:you|your) (?:told|instructed|(?:initially |originally )?(?:given|programmed|configured))[^.\n]{0,30}?\b(?:before|system|at the (?:start"
        r"|beginning)|initially|not to (?:say|reveal|share|tell)|developer|prompt)"
    ),
    (
        r"(?i)\b(?:here (?:is|are)|this is|below (?:is|are)|sure[,!.:]? (?:here (?:is|are))?) ?(?:my|the) (?:full |complete |exact |entire )?(?:system prompt|system message"
        r"|hidden instructions|initial (?:prompt|instructions)|secret instructions)\b|\bmy (?:system prompt|hidden instructions|initial instructions|developer message)"
        r" (?:is|are|says?|reads?|begins?|starts?|states?|tells?)\b"
    ),
    (
        r"(?i)\byou are (?:an? |the )?[^\n]{0,60}?\b(?:assistant|chatbot|agent|AI|bot|copilot|language model)\b(?s:.{0,400}?)\b(?:never|do not|don'?t|must not) (?:reveal|disclose"
        r"|share|mention|repeat|discuss|output|tell)\b[^\n]{0,40}?\b(?:instructions?|prompt|rules|guidelines|system message)"
    ),
    (
        r"(?i)\b(?:zeig\w*|nenn\w*|gib|verrat\w*|wiederhol\w*|was (?:ist|sind|steht)|druck\w*|offenbar\w*)\b[^.\n]{0,30}?\b(?:dein\w*|ihr\w*|euer\w*)\b[^.\n]{0,30}?(?:system-?\s?(?:prompt|anweisung|nachricht)"
        r"|(?:ursprünglich|versteckt|geheim|intern)\w* (?:anweisung|instruktion|prompt|regel))"
    ),
    (
        r"(?i)\b(?:muestra\w*|mu[eé]stra\w*|revela\w*|repit[ea]\w*|d[ií]me|imprim[ea]|cu[aá]l(?:es)? (?:es|son)|ens[eé]ña\w*|escrib[ea]|dame)\b[^.\n]{0,30}?\b(?:tus?|sus?)\b[^.\n]{0,20}?(?:prompt (?:de|del)"
        r" sistema|system prompt|(?:instrucciones|reglas|prompt) (?:iniciales|inicial|originales|original|del sistema|de sistema|ocultas|secretas|internas))"
    ),
    (
        r"(?i)\b(?:montre\w*|révèle\w*|répète\w*|affiche\w*|donne\w*|quel(?:le)?s? (?:est|sont)|écris|dis|imprime\w*)\b[^.\n]{0,30}?\b(?:ton|ta|tes|votre|vos)\b[^.\n]{0,20}?(?:(?:prompt|message) (?:système|initial)"
        r"|system prompt|(?:instructions|consignes|règles) (?:système|initiales|cachées|secrètes|internes|d'origine))"
    ),
    (
        r"(?i)\b(?:mostra\w*|rivela\w*|ripeti\w*|stampa|dimmi|quali sono|qual è|scrivi)\b[^.\n]{0,30}?\b(?:tu[oea]i?|tue|vostr[oei])\b[^.\n]{0,20}?(?:prompt di sistema|system prompt|istruzioni"
        r" (?:iniziali|di sistema|nascoste|segrete|originali|interne))"
    ),
    (
        r"(?i)(?:pokaż|ujawnij|powtórz|podaj|wypisz|wyświetl|jaki (?:jest|masz)|jakie (?:są|masz))[^.\n]{0,30}?(?:tw[oó]j\w*|sw[oó]j\w*)[^.\n]{0,20}?(?:prompt\w* systemow\w*|system prompt|instrukcj\w* systemow\w*"
        r"|(?:początkow|ukryt|tajn|pierwotn|wewnętrzn)\w* (?:instrukcj|polece|prompt)\w*)"
    ),
    r"(?:显示|告诉我|输出|重复|透露|打印|泄露|给我看|复述)[^。\n]{0,12}?(?:系统提示|系统指令|初始指令|系统消息|隐藏指令|初始提示)",
    r"(?:システムプロンプト|初期指示|システムメッセージ)[^。\n]{0,8}?(?:表示|教え|出力|見せ|開示|繰り返)",
    r"(?i)(?:покажи|раскрой|повтори|выведи|назови)[^.\n]{0,30}?(?:сво\w*|тво\w*|систем\w*)[^.\n]{0,20}?(?:системн\w* (?:промпт|подсказ|инструкц|сообщен)|промпт|начальн\w* инструкц)",
)

_QUOTES = "\"'“”„‘’«»`「」"
_TALK_CHARS = 140
_TALK = re2.compile(
    r"(?i)\b(?:attacks?|attackers?|inject(?:s|ion|ions|ed)|phrases?|such as|for example|for instance|e\.g|example|examples|jailbreak\w*|detect\w*|filters?|classif\w+"
    r"|adversar\w+|malicious|patterns?|test case|known as|so-called|vulnerab\w+|red[- ]?team\w*|signs? of|owasp|threats?|mitigat\w+|defen[cs]e\w*|guard against|blocked|flagged"
    r"|payloads?|research\w*|papers?|training data|dataset|beispiel\w*|angriff\w*|ejemplo\w*|ataques?|attaques?|exemple\w*|przykład\w*|atak\w*|esempi\w*|attacc\w+|tokenizers?|chat template"
    r"|special tokens?|delimiters?|markers?)\b"
)
_TOLD_OF = re2.compile(
    r"(?i)\b(?:attack\w*|inject\w*|jailbreak\w*|adversar\w+|malicious|hidden text|an email|a document|a page|users? (?:may|might|can|could|try|tries|tried)|someone|people|they|prompts? that"
    r"|inputs? that|texts? that|trick\w*|convinc\w*|persuad\w*|attempt\w*|instruct\w* (?:the|an|a)\b|tell\w* (?:the|an|a|it)\b|get\w* (?:the|an|a)\b|caus\w* (?:the|an|a)\b|mak\w+ (?:the|an|a|it)\b"
    r"|ask\w* (?:the|an|a)\b|model|models|agents?|llms?)\b[^.!?\n]{0,70}\b(?:to|that|into|and|or|may|might|could|would|will|should|not|which|who|like|by|of|from)[ \"'“‘`*]{0,3}\z"
)


def discussed(text: str, start: int, end: int) -> bool:
    """Whether a phrase is spoken about: quoted beside words of the trade, or told of a third party."""
    before, after = text[max(0, start - _TALK_CHARS) : start], text[end : end + _TALK_CHARS]
    if _TOLD_OF.search(before) is not None and _ATTACKED.search(before) is not None:
        return True
    opened = any(mark in _QUOTES for mark in before[-40:])
    closed = any(mark in _QUOTES for mark in after[:60])
    near = before[-100:] + " " + after[:80]
    return opened and closed and _TALK.search(near) is not None


_ATTACKED = re2.compile(
    r"(?i)\b(?:attack\w*|inject\w*|jailbreak\w*|adversar\w+|malicious|trick\w*|attempt\w*|threat\w*|vulnerab\w*|risk\w*|exploit\w*|mitigat\w*|defen[cs]e\w*|hostile|untrusted|danger\w*)\b"
)


_OF_A_FILE = re2.compile(
    r"(?i)\A[\s\"'`]{1,3}(?:in|of|for|from|inside) (?:my|the|our|a|your|this) (?:[\w.\-/]{1,24} )?[\w.\-/`]{0,24}"
    r"(?:file|config\w*|template|compose|image|pipeline|workflow|script|recipe|manual|box|form|kit)\b"
)


# What a terminal, a template or a form shows is called a prompt, too.
_OF_A_SHELL = re2.compile(
    r"(?i)\A[\s\"'`]{1,3}(?:symbol|sign|character|char|variable|colou?r|length|width|font|icon|timeout)s?\b"
)


def _addressed(text: str, start: int, end: int) -> bool:
    return (
        not discussed(text, start, end)
        and _OF_A_FILE.search(text[end : end + _TALK_CHARS]) is None
        and _OF_A_SHELL.search(text[end : end + _TALK_CHARS]) is None
    )


def _bare(text: str, start: int, end: int) -> bool:
    # Code and documents about chat templates quote the delimiters.
    return text[max(0, start - 1) : start] not in tuple(_QUOTES) and _addressed(text, start, end)


# Each pattern holds gaps, which a Set would have to keep count of: literals are its shape.
_ENGLISH_SHAPE = (
    r"(?i)instruction|\bprompt|directive|\brules\b|guideline|guardrail|commands?\b|constraint|restrict"
    r"|programming|safeguard|\bpolic(?:y|ies)\b|\babove\b|\bbefore\b|you (?:were|have been)|system|\bDAN\b|\bmode\b"
    r"|censored|unfiltered|jailbr|you(?: are|'re) now|become|from now|do anything now|filter|your (?:new|real|true)"
    r"|\bAI\b|\bLLM|language model|chatbot|assistant|copilot|this (?:document|page|e-?mail|text|file|message)"
    r"|\buser\b|\bconversation|chat history|secrets|credentials|passwords|api keys?|\bdata\b|override"
)
_TONGUES_SHAPE = (
    r"(?i)(?:instruction|anweisung|instruktion|\bregel|vorgabe|befehl|richtlinie|instructies|opdrachten|aanwijzing|instruk|regler"
    r"|anvisning|instruccion|indicacion|\breglas\b|órdenes|directrices|directivas|consignes|règles|directives|istruzioni"
    r"|regole|direttive|indicazioni|instruções|regras|diretrizes|orientações|instrukcj|polece|zasad|wytyczn|reguł|instrukc"
    r"|pokyn|talimat|komut|yönerge|инструкц|указани|правил|команд|інструкц|вказівк|\bprompt|\bordres\b|\bordini\b)"
    r"|指令|指示|提示|规则|規則|说明|說明|命令|设定|ルール|プロンプト|設定|지시|명령|규칙|지침|프롬프트|تعليمات|الأوامر|القواعد|الإرشادات"
    r"|הוראות|כללים|निर्देश|आदेश|नियम"
)
_EXTRACTION_SHAPE = (
    r"(?i)\bprompt|instruction|system|directive|developer|\babove\b|preceding|in your context|you are|you (?:were|was)"
    r"|your (?:rules|guidelines)|anweisung|instrucci|reglas|consignes|règles|istruzioni|instrukcj|промпт|подсказ|инструкц"
    r"|系统|初始|隐藏|システム|初期指示"
)
_HIDDEN_SHAPE = r"(?i)<!--|display:|visibility:|font-size:|opacity:|color:"


_ALL_MEMORY_BYTES = 16 << 20


def _sign(
    kind: str,
    name: str,
    patterns: Sequence[str],
    reason: str,
    shape: str,
    accept: Accept = _addressed,
) -> Shaped:
    finders = [
        cued(kind, f"sign.{name}", pattern, reason=reason, accept=accept)[1] for pattern in patterns
    ]

    # One pass for all of them, which most texts end.
    options = re2.Options()
    options.max_mem = _ALL_MEMORY_BYTES
    all_of_them = re2.compile("|".join(f"(?:{pattern})" for pattern in patterns), options)

    def find(text: str, key: str, budget: Budget) -> Iterator[Finding]:
        if all_of_them.search(text) is None:
            return
        for finder in finders:
            yield from finder(text, key, budget)

    return shape, find


INJECTION_FINDERS: tuple[Shaped, ...] = (
    _sign(
        PROMPT_INJECTION,
        "override",
        _ENGLISH,
        "It tells an agent to leave its instructions.",
        _ENGLISH_SHAPE,
    ),
    _sign(
        PROMPT_INJECTION,
        "override",
        _TONGUES,
        "It tells an agent to leave its instructions.",
        _TONGUES_SHAPE,
    ),
    _sign(
        PROMPT_INJECTION,
        "delimiter",
        (_DELIMITERS,),
        "It holds marks by which models tell turns apart.",
        _DELIMITERS,
        _bare,
    ),
    _sign(
        PROMPT_INJECTION,
        "hidden",
        _HIDDEN,
        "Hidden markup speaks to an agent.",
        _HIDDEN_SHAPE,
    ),
    _sign(
        PROMPT_EXTRACTION,
        "extraction",
        _EXTRACTION,
        "It asks for an agent's own instructions, or holds them.",
        _EXTRACTION_SHAPE,
    ),
)
"""Signs in wording; the shapes are words without which none occurs."""
