"""Phrases of refusal and doubt in twelve languages, matched without case."""

from __future__ import annotations

REFUSALS = (
    r"\bi(?:['’]m| am) (?:very |so |really )?(?:sorry|afraid)\b.{0,60}"
    r"\bi(?: can(?:no|['’])t| can not| won['’]t|(?: am|['’]m) (?:unable|not able))",
    r"\bi(?: can(?:no|['’])t| can not| won['’]t(?: be able to)?|(?: am|['’]m) (?:unable|not able) to)"
    r" (?:help(?! \w+ing\b| it\b| but\b)|assist|comply|fulfil|answer|provide|do that|create|generate|write"
    r"|discuss|continue|share|engage|complete)",
    r"\bi (?:must|have to) (?:decline|refuse)\b|\bi(?:['’]d| would) rather not (?:answer|say|discuss)\b",
    r"\bi(?:['’]m| am| do|) ?(?:not|n['’]t) (?:feel )?comfortable"
    r" (?:answering|discussing|helping|providing"
    r"|with th(?:is|at|ese)(?: (?:kind|sort|type|line|request|question|topic|task)|[.,;!]|$))",
    r"\bas an ai\b.{0,80}\b(?:cannot|can['’]t|unable|not able)\b",
    r"(?:tut mir (?:sehr )?leid|entschuldigung|leider)\b.{0,60}\bkann ich\b.{0,40}\bnicht\b",
    r"\b(?:ich kann|kann ich)\b.{0,40}\bnicht (?:helfen|beantworten|weiterhelfen|unterstützen|erfüllen)\b",
    r"\bleider\b.{0,20}\bdarf ich\b.{0,40}\bkeine? (?:auskunft|angaben|antwort)",
    r"\b(?:désolée?|navrée?)\b.{0,60}\bje ne (?:peux|suis pas)",
    r"\bje ne suis pas en mesure de (?:vous |t['’])?(?:aider|répondre|fournir|faire)",
    r"\bje ne peux pas (?:vous |t['’])?(?:aider|répondre|fournir|faire)",
    r"\b(?:lo siento|lamento)\b.{0,60}\bno puedo\b",
    r"\bno puedo (?:ayudar|responder|proporcionar|cumplir|hacer)",
    r"\bno me es posible (?:ayudar|responder|proporcionar|cumplir|hacer)",
    r"\b(?:desculpe|sinto muito|lamento)\b.{0,60}\bnão (?:posso|consigo)\b",
    r"\bnão (?:posso|consigo) (?:ajudar|responder|fornecer|fazer)",
    r"\b(?:mi dispiace|spiacente)\b.{0,60}\bnon posso\b",
    r"\bnon (?:posso|sono in grado di) (?:aiutar|rispondere|fornire|fare)",
    r"(?:извините|простите|к сожалению|сожалею).{0,60}не могу",
    r"\bя не могу (?:помочь|ответить|предоставить|выполнить)",
    r"(?:抱歉|对不起|對不起|很遗憾).{0,30}(?:无法|不能|無法|没办法|沒辦法)",
    r"我(?:无法|不能|無法)(?:帮助|协助|回答|提供|满足|完成|協助)",
    r"(?:申し訳|すみません|恐れ入り).{0,60}(?:できません|かねます)",
    r"お(?:手伝い|答え)(?:する)?(?:こと)?(?:は|が)?できません",
    r"(?:죄송|미안).{0,60}(?:수 없습니다|어렵습니다|수 없어요)",
    r"(?:답변(?:을 )?(?:드릴|할|해 드릴)|도와 ?드릴|도움을 드릴) 수 (?:가 )?없(?:습니다|어요)",
    r"(?:عذر|آسف|أعتذر|للأسف).{0,60}(?:لا أستطيع|لا يمكنني|لن أتمكن)",
    r"(?:لا أستطيع|لا يمكنني) (?:مساعدت|المساعدة|الإجابة|تقديم|تلبية)",
    r"(?:क्षमा|माफ़|माफ|खेद).{0,60}नहीं (?:\S{1,12} )?सकत",
    r"मैं .{0,40}(?:मदद|सहायता|अनुरोध|उत्तर|जवाब).{0,20}नहीं (?:\S{1,12} )?सकत",
)
DOUBTS = (
    r"\bi(?:['’]m| am) not (?:entirely |completely |really |quite |100% )?(?:sure|certain)\b",
    r"\bi (?:don['’]t|do not) (?:really )?know\b",
    r"\bi (?:might|may|could) be (?:wrong|mistaken)\b",
    r"\bi (?:can(?:no|['’])t|can not) (?:determine|verify|be certain|be sure)\b",
    r"\b(?:ich bin|bin ich) (?:mir )?(?:nicht|un)\s?(?:ganz )?sicher\b",
    r"\b(?:ich weiß|weiß ich) (?:es |das )?(?:leider )?nicht\b",
    r"\bje ne (?:suis pas (?:sûre?|certaine?)|sais pas)\b",
    r"\bno estoy (?:del todo )?segur[oa]\b|\bno (?:lo )?sé\b",
    r"\bnão tenho (?:a )?certeza\b|\bnão sei\b",
    r"\bnon (?:sono (?:del tutto )?sicur[oa]|lo so)\b",
    r"\bя не (?:уверена?|знаю)\b|\bне могу сказать точно\b",
    r"我不(?:太)?(?:确定|確定|清楚|知道)",
    r"(?:わかりません|分かりません|確信(?:が|は)(?:ありません|持てません))",
    r"(?:확실하지 않|잘 모르겠|모르겠습니다)",
    r"لست (?:متأكد|واثق)|لا أعرف",
    r"(?:मुझे (?:यकीन|पता) नहीं)",
)

# A phrase can only be there if one of these is. "Abroad": phrases that no ASCII text contains.
REFUSAL_CUES = (
    *("n't", "not", "unable", "as an ai", "decline", "refuse"),
    *("nicht", "darf ich", "je ne ", "no puedo", "no me es", "non posso", "non sono"),
)
REFUSAL_CUES_ABROAD = (
    *(
        "n’t",
        "não posso",
        "não consigo",
        "не могу",
        "无法",
        "不能",
        "無法",
        "没办法",
        "沒辦法",
        "できません",
        "かねます",
    ),
    *("습니다", "수 없어요", "لا أستطيع", "لا يمكنني", "لن أتمكن", "नहीं"),
)
DOUBT_CUES = (
    *("not sure", "not certain", "not entirely", "not completely", "not really", "not quite", "not 100"),
    *("n't know", "n't really", "not know", "not really know", "be wrong", "be mistaken"),
    *("determine", "verify", "be certain", "be sure", "sicher", "je ne sais", "no estoy", "no lo s"),
    *("non sono", "non lo so"),
)
DOUBT_CUES_ABROAD = (
    *("n’t", "weiß", "je ne suis", "no sé", "no lo sé", "certeza", "não sei", "я не ", "не могу сказать"),
    *("我不", "かりません", "分かりません", "確信", "확실하지", "모르겠", "لست", "لا أعرف", "मुझे"),
)
