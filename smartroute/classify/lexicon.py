"""Words that show how hard a request is, by signal and language.

Two tables, because scripts differ. Latin-script languages put spaces between words, so whole lower-case
words are looked up. Chinese and Japanese have no spaces, and Korean, Russian, Arabic and Hindi inflect
heavily, so stems are searched for inside the text. Phrases serve where a single word says too little.
"""

from __future__ import annotations

WORDS: dict[str, str] = {
    # Proof and formal derivation.
    "prove": """
        prove proves proving proof proofs disprove disproves derive derivation rigorously counterexample
        counterexamples refute establish
        beweise beweis beweisen widerlege herleite herleitung gegenbeispiel
        démontrez démontrer démontre démonstration prouver prouvez prouve réfute
        demuestra demuestre demostrar demostración
        provar prova demonstre demonstrar demonstração
        dimostra dimostrare dimostri dimostrazione
        bewijs bewijzen udowodnij
    """,
    # Causes, judgment, argument.
    "reason": """
        analyze analyse analyzing analysis evaluate assess critique justify compare comparing contrast
        versus
        tradeoffs tradeoff implications implication paradox dilemma argue infer deduce deduction reasoning
        strategy strategic weigh diagnose hypothesize pros
        analysiere analysieren bewerte vergleiche vergleichen begründe begründen abwägen schlussfolgere
        analysez analyser évaluez évaluer comparez comparer justifiez justifier déduire avantages
        inconvénients
        analiza analizar evalúa evaluar compara comparar justifica justificar deduce razona ventajas
        desventajas
        avalie avaliar analise analisa analisar raciocine vantagens desvantagens
        analizza confronta valuta giustifica
        vergelijk porównaj
    """,
    # An explanation, which a small model often manages.
    "explain": """
        why explain explains explaining elaborate
        warum weshalb wieso erkläre erklären erklär
        pourquoi expliquez expliquer explique
        explica explicar explícame porqué
        porquê porque
        perché spiega waarom dlaczego
    """,
    # Something is broken and its cause is to be found.
    "debug": """
        debug debugging deadlock deadlocks deadlocked livelock segfault traceback stacktrace crash crashes
        crashing crashed bug bugs leak leaks leaking leaked flaky intermittent intermittently
        nondeterministic regression bottleneck corrupted corruption oom hangs profiling vulnerability
        exploit
        concurrency mutex goroutine
        fehler stürzt fehlersuche debugge absturz speicherleck
        bogue bogues déboguer débogue plantage
        depura depurar depure cuelga trava travando
    """,
    # Something is to be built or restructured.
    "design": """
        design architect architecture refactor refactoring implement implementation implementing optimize
        optimise
        optimizing scalable distributed migrate migration algorithm algorithms parallelize compiler
        entwirf entwerfe entwerfen implementiere architektur optimiere verteiltes
        concevez concevoir conçois implémente implémentez optimise optimisez
        diseña diseñar diseñe implementa implementar arquitectura optimiza algoritmo
        projete projetar implemente arquitetura otimize
        progetta ontwerp zaprojektuj
    """,
    # Subjects in which two or more of these together make a question one for engineers, lawyers or doctors.
    "technical": """
        thread threads regex regexp postgres postgresql mysql mongodb redis kafka kubernetes docker
        microservice
        microservices monolith consensus byzantine latency throughput downtime replication replica
        sharding shard
        transaction transactions idempotent tcp udp dns tls kernel cache caching cluster clusters failover
        quorum
        database databases query queries index indexes api backend frontend oauth encryption cipher pointer
        dict hashmap heap stack queue recursion recursive async coroutine overfitting transformer gradient
        regularization dataset quantum qubit enzyme genome thermodynamic relativity
        jurisdiction liability lawsuit sue sued plaintiff defendant tort negligence statute defamation
        landlord tenant breach
        diagnosis differential prognosis contraindicated contraindication comorbidity biopsy dosage dose
        patient bleeding
        datenbank requête consulta banco mieter vermieter mietvertrag haftung
    """,
    # Nouns and adjectives of formal statements.
    "formal": """
        theorem theorems lemma conjecture hypothesis axiom axioms corollary decidable undecidable provable
        isomorphic isomorphism homeomorphic homomorphism homology manifold irrational transcendental
        continuous
        differentiable holomorphic eigenvalue eigenvalues asymptotic entropy infinitely halting
        reducible bijection injective surjective countable uncountable convergence converge converges
        diverge
        diverges integral derivative polynomial polynomials modulo congruent bayesian posterior complexity
        quadratic
        vermutung unendlich stetig primzahlen
        théorème infinité irrationnel
        teorema conjetura hipótesis infinitos irracional
        conjectura hipótese
    """,
    # Things of which something may be claimed in general.
    "object": """
        prime primes integer integers number numbers graph graphs function functions group groups ring rings
        matrix matrices polynomial polynomials sequence sequences set sets program programs string strings
        language languages field fields triangle triangles reals map maps set
        zahl zahlen primzahl funktion menge nombre nombres fonction ensemble número números función
        função conjunto grafo
    """,
    "quantifier": """
        every all any exists exist always never infinitely arbitrary
        jede jeder jedes alle existiert chaque tout toute tous existe todo toda todos todas cualquier
        qualquer
    """,
    # What may hold between two symbols, or of one.
    "relation": """
        equal equals equivalent implies imply contain contains contained subset superset included iff
        isomorphic
        reducible reduces same
        gleich äquivalent égal équivaut igual
    """,
    "property": """
        consistent decidable undecidable provable closed complete irrational transcendental independent
    """,
    # Terms of an answer that are easy to break.
    "constraint": """
        must exactly without only avoid each under include includes ensure requires required require
        cannot except unless
        least most maximum minimum limit constraint constraints given assume assuming
        muss genau ohne nur mindestens höchstens
        doit exactement sans seulement
        debe exactamente sin solo sólo mínimo máximo
        deve exatamente sem apenas
    """,
    # Keywords of programming languages that prose does not use.
    "code": """
        def elif const println printf nullptr struct enum async await lambda stdout stderr argv kwargs argc
        str int bool float std null nil boolean args iostream numpy pandas sql javascript typescript kubectl
    """,
    # Commands of TeX and names of elementary functions.
    "maths": """
        frac sqrt cdot mathbb mathcal mathrm leq geq infty begin overline angle triangle sin cos tan ln
        lim log
        arctan pmod binom circ
    """,
    # A change of the form of a given text, whatever the text says.
    "light": """
        translate spell capitalize capitalise lowercase uppercase repeat rephrase reword proofread spelling
        übersetze übersetzen übersetz traduis traduisez traduire traduce traducir traduza traduzir traduci
        vertaal przetłumacz buchstabiere
    """,
}

PHRASES: dict[str, tuple[tuple[str, str], ...]] = {
    "race": (("race condition", "debug"),),
    "memory": (("memory leak", "debug"),),
    "root": (("root cause", "debug"),),
    "stack": (("stack trace", "debug"),),
    "blocca": (("si blocca", "debug"),),
    "step": (("step by step", "reason"),),
    "trade": (("trade off", "reason"),),
    "review": (
        ("review this code", "reason"),
        ("review my code", "reason"),
        ("review the code", "reason"),
        ("code review", "reason"),
        ("review this pull request", "reason"),
    ),
    "show": (("show that", "prove"),),
    "zeige": (("zeige dass", "prove"), ("zeige  dass", "prove")),
    "np": (("np hard", "formal"), ("np complete", "formal")),
    "probability": (("probability that", "formal"),),
    "ways": (("how many ways", "formal"), ("number of ways", "formal")),
    "remainder": (("remainder when", "formal"),),
    "common": (("common divisor", "formal"), ("common multiple", "formal")),
    "qué": (("por qué", "explain"),),
    "que": (("por que ", "explain"),),
    "write": (
        ("write a function", "design"),
        ("write a program", "design"),
        ("write a regex", "design"),
        ("write a query", "design"),
        ("write a python", "design"),
        ("write a javascript", "design"),
        ("write a sql", "design"),
        ("write a bash", "design"),
        ("write a shell", "design"),
        ("write code", "design"),
        ("write some code", "design"),
        ("write python code", "design"),
    ),
    "funktion": (("schreibe eine funktion", "design"), ("schreib eine funktion", "design")),
    "fonction": (("écris une fonction", "design"), ("écrivez une fonction", "design")),
    "función": (("escribe una función", "design"), ("escriba una función", "design")),
    "função": (("escreva uma função", "design"),),
    "funzione": (("scrivi una funzione", "design"),),
}
"""By the word that gives a phrase away; searched for in lower-case text whose punctuation became spaces."""

STEMS: dict[str, str] = {
    "prove": """
        证明 證明 推导 推導 反例 反证 証明 導出 증명 반증 유도하 докаж доказ опроверг أثبت برهن सिद्ध साबित
    """,
    "reason": """
        分析 比较 比較 评估 評估 论证 論證 权衡 優缺點 优缺点 利弊 推理 评价 評価 論じ 考察 検討 비교 분석
        평가
        논하 추론 장단점 сравн проанализ обоснуй обосновать рассужд недостат قارن حلل तुलना विश्लेषण
    """,
    "explain": """
        为什么 為什麼 为何 為何 解释 解釋 阐述 なぜ どうして 説明 설명 почему объясн لماذا اشرح क्यों समझा
    """,
    "debug": """
        死锁 死鎖 调试 調試 竞态 競態 泄漏 洩漏 崩溃 崩潰 漏洞 报错 デバッグ デッドロック 競合 リーク バグ
        クラッシュ
        卡死 死循环 死循環 不具合
        교착 경쟁_상태 경쟁상태 디버 버그 누수 크래시 отлад утечк взаимоблок блокировк гонк крашит зависает
        вылетает يتعطل क्रैश
    """,
    "design": """
        设计 設計 架构 架構 实现 實現 重构 重構 优化 優化 分布式 算法 演算法 実装 最適化 リファクタ
        アルゴリズム
        写一个函数 写个函数 寫一個函數 写一个程序 写个程序 写一段代码 写代码
        関数を書 コードを書 プログラムを書
        설계 구현 최적화 알고리즘 리팩터 함수를_작성 함수를_만들 코드를_작성
        спроектир реализ оптимиз рефактор архитектур алгоритм напиши_функци напишите_функци напиши_программ
    """,
    "formal": """
        素数 質數 质数 定理 猜想 无理数 無理數 无穷 無窮 收敛 积分 複雑度 复杂度 無限 無理数 予想 収束
        積分 微分
        計算量 소수 정리 추측 무리수 무한 복잡도 수렴 적분 теорем гипотез бесконечн иррациональн интеграл
    """,
    "constraint": """
        必须 必須 不能 不得 只能 至少 至多 恰好 なければな 以内 ちょうど のみ 반드시 이상 이하 должен
        должн только
        ровно не_более не_менее
    """,
    "relation": "等于 等於 等しい 같은가 같은지 равно",
    # Forms of the verb, since the noun also names what a hard request is about.
    "light": """
        翻译成 翻譯成 译成 譯成 翻译这 翻譯這 翻译以下 翻譯以下 翻译下 翻譯下 翻译一 翻譯一
        翻译： 翻譯： 翻译: 翻譯: 请翻译 請翻譯
        訳して 翻訳せよ 翻訳を願 翻訳をお願 번역해 번역하세요 번역하시오 번역_부탁 번역을_부탁
        переведи перевести_на ترجم_ अनुवाद_कर
    """,
}
"""An underscore stands for a space inside a stem."""

CODE_MARKS = ("```", "();", "){", "=>", "</", "::", "==", "!=", "+=", "{}", "[]", "()", "->", "};", "&&")
"""Searched for in what is left of a text without its letters, digits, spaces and common punctuation."""

MATHS_MARKS = ("^", "_{", "\\(", "\\[", "$\\")
"""Likewise."""

MATHS_SYMBOLS = "∑∏∫√∂∇∞≤≥≠≈≡∈∉⊂⊆∪∩∀∃∅→⇒⇔ℝℕℤℚℂπθλε"
