"""Made-up secrets of every kind, put together at run time so that no file holds anything that looks like one."""

import random

DICE = random.Random(20)
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
HEX = "0123456789abcdef"
WORD = LETTERS + DIGITS
UPPER = LETTERS[26:] + DIGITS
URLSAFE = WORD + "-_"
BASE64 = WORD + "+/"


def made(alphabet: str, length: int) -> str:
    """Random characters, the first three of which are a letter of each case and a digit where there are such."""
    first = [next((c for c in alphabet if c in group), "") for group in (LETTERS[:26], LETTERS[26:], DIGITS)]
    head = "".join(first)
    return head + "".join(DICE.choices(alphabet, k=length - len(head)))


def jwt() -> str:
    return ".".join(("eyJ" + made(WORD, 30), "eyJ" + made(WORD, 60), made(WORD, 43)))


def pem(kind: str) -> str:
    lines = "\n".join(made(BASE64, 64) for _ in range(5))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


# kind -> (a text, what must not be left of it)
BARE = {
    "GitHub classic": "gh" + "p_" + made(WORD, 36),
    "GitHub OAuth": "gh" + "o_" + made(WORD, 36),
    "GitHub Actions": "gh" + "s_" + made(WORD, 36),
    "GitHub fine-grained": "github" + "_pat_" + made(WORD, 22) + "_" + made(WORD, 59),
    "GitLab personal": "gl" + "pat-" + made(WORD, 20),
    "GitLab routable": "gl" + "pat-" + made(WORD, 27) + ".01." + made(HEX, 9),
    "GitLab runner": "gl" + "rt-" + made(WORD, 20),
    "Hugging Face": "h" + "f_" + made(LETTERS, 34),
    "Slack bot": "xox" + "b-" + made(DIGITS, 12) + "-" + made(DIGITS, 12) + "-" + made(WORD, 24),
    "Slack app": "xap" + "p-1-A" + made(UPPER, 10) + "-" + made(DIGITS, 13) + "-" + made(HEX, 64),
    "AWS key": "AK" + "IA" + made(UPPER, 16),
    "AWS temporary key": "AS" + "IA" + made(UPPER, 16),
    "OpenAI classic": "s" + "k-" + made(WORD, 48),
    "OpenAI project": "s" + "k-proj-" + made(URLSAFE, 120),
    "OpenAI service account": "s" + "k-svcacct-" + made(URLSAFE, 100),
    "Anthropic": "s" + "k-ant-api03-" + made(URLSAFE, 93) + "AA",
    "OpenRouter": "s" + "k-or-v1-" + made(HEX, 64),
    "Google API": "AI" + "za" + made(URLSAFE, 35),
    "Google OAuth": "ya" + "29." + made(URLSAFE, 80),
    "Google client": "GOC" + "SPX-" + made(URLSAFE, 28),
    "RunPod": "rp" + "a_" + made(UPPER, 44),
    "W&B new": "wandb" + "_v1_" + made(WORD, 70),
    "W&B local": "local" + "-" + made(HEX, 40),
    "Stripe live": "sk" + "_live_" + made(WORD, 24),
    "Stripe restricted": "rk" + "_test_" + made(WORD, 24),
    "npm": "np" + "m_" + made(WORD, 36),
    "PyPI": "py" + "pi-AgEIcHlwaS5vcmc" + made(URLSAFE, 120),
    "JSON web token": jwt(),
    "DigitalOcean": "do" + "p_v1_" + made(HEX, 64),
    "Lambda": "secret" + "_my-key_" + made(HEX, 32) + "." + made(WORD, 32),
    "Kaggle new": "KG" + "AT_" + made(HEX, 32),
    "Azure client secret": made(WORD, 3) + "8" + "Q~" + made(WORD, 34),
    "SendGrid": "S" + "G." + made(WORD, 22) + "." + made(WORD, 43),
    "Telegram": "712" + "3456789" + ":AA" + made(WORD, 33),
    "Mailchimp": made(HEX, 32) + "-us" + "12",
    "Databricks": "da" + "pi" + made(HEX, 32),
    "Docker": "dckr" + "_pat_" + made(URLSAFE, 27),
    "Vault": "hv" + "s." + made(WORD, 90),
    "Groq": "gs" + "k_" + made(WORD, 52),
    "Replicate": "r" + "8_" + made(WORD, 37),
    "NVIDIA": "nv" + "api-" + made(WORD, 60),
    "RSA private key": pem("RSA PRIV" + "ATE KEY"),
    "OpenSSH private key": pem("OPENSSH PRIV" + "ATE KEY"),
    "PGP private key": pem("PGP PRIV" + "ATE KEY BLOCK"),
}
HEX32, HEX40, HEX64, KEY40, KEY88 = made(HEX, 32), made(HEX, 40), made(HEX, 64), made(BASE64, 40), made(BASE64, 86)
MONEY = "$" + "ecret4me"
BASIC = "c29tZW9uZTpU" + "cjB1YjRkb3I"
WORTH = "Tr0ub4" + "dor&3"
NAMED = {
    "AWS secret key": (f"aws_secret_access_key = {KEY40}", KEY40),
    "AWS secret key beside its id": (f"{BARE['AWS key']},{KEY40}", KEY40),
    "AWS session token": (f"AWS_SESSION_TOKEN={made(BASE64, 300)}", ""),
    "W&B variable": (f"WANDB_API_KEY={HEX40}", HEX40),
    "W&B login": (f"wandb login {HEX40}", HEX40),
    "W&B call": (f'wandb.login(key="{HEX40}")', HEX40),
    "Kaggle file": (f'{{"username":"someone","key":"{HEX32}"}}', HEX32),
    "Kaggle variable": (f"export KAGGLE_KEY={HEX32}", HEX32),
    "Kaggle file, the other way round": (f'{{"key": "{HEX32}", "username": "someone"}}', HEX32),
    "Docker's file": (f'"auths": {{"ghcr.io": {{"auth": "{BASIC}="}}}}', BASIC),
    "cookie": (f"Cookie: session={made(WORD, 40)}; path=/", ""),
    "curl": (f"curl -u someone:{WORTH} https://host.org/", WORTH),
    "wide signs": (f"password： {WORTH}", WORTH),
    "W&B asked": (f"wandb: Paste an API key from your profile: {HEX40}", HEX40),
    "Vast.ai variable": (f"VAST_API_KEY: {HEX64}", HEX64),
    "Vast.ai command": (f"vastai set api-key {HEX64}", HEX64),
    "Azure storage": (f"AccountName=a;Account{'Key='}{KEY88}==;EndpointSuffix=core", KEY88),
    "service account": (f'"private_key_id": "{HEX40}"', HEX40),
    "password in a URL": (f"https://someone:{WORTH}@host.org/file.zip", WORTH),
    "password with signs in a URL": (f"postgres://{'me:p@ss:w0rd'}@db.local:5432/x", "w0rd"),
    "password that begins as a variable": (f"https://someone:{MONEY}@host.org/x", MONEY),
    "token in a URL's head": (f"https://{made(WORD, 24)}@host.org/x", ""),
    "AWS signature": (f"https://b.s3.org/k?X-Amz-Date=2026&X-Amz-Signature={HEX64}&x=1", HEX64),
    "Azure signature": (f"https://a.blob.net/c/f?sv=2024-11-04&sp=r&si{'g='}{made(WORD, 43)}%3D", ""),
    "Google signature": (f"https://storage.org/b/o?X-Goog-Signature={made(HEX, 512)}", ""),
    "token of a notebook server": (f"http://127.0.0.1:8888/lab?token={made(HEX, 48)}", ""),
    "Slack web hook": (f"https://hooks.slack.com/services/T{made(UPPER, 8)}/B{made(UPPER, 8)}/{made(WORD, 24)}", ""),
    "bearer": (f"Authorization: Bearer {made(WORD, 40)}", ""),
    "basic": (f"'Authorization': 'Basic {BASIC}='", BASIC),
    "header of a key": (f"X-Api-Key: {made(WORD, 32)}", ""),
    "password in YAML": (f"password: {WORTH}", WORTH),
    "password in code": (f"connect(host='h', password='{WORTH}')", WORTH),
    "password in XML": (f"<password>{WORTH}</password>", WORTH),
    "a .netrc": (f"machine host.org login me password {WORTH}", WORTH),
    "command line": (f"tool --password {WORTH} --to x", WORTH),
}
INNOCENT = (
    f"commit {HEX40}",
    HEX40,
    f"sha256: {HEX64}",
    f'{{"sha256": "{HEX64}", "bytes": 12}}',
    f"wandb @ git+https://github.com/wandb/wandb@{HEX40}",
    f"hash key: {made(HEX, 16)}",
    f"stage_key = {HEX40}",
    "tokens: 512",
    "model.token_dim: 256",
    "token: cls",
    "tokenizer: bert-base-uncased-whole-word-masking",
    "max_tokens=1048576, tokens_per_second=123456.789",
    "key: 550e8400-e29b-41d4-a716-446655440000",
    "token: 550e8400-e29b-41d4-a716-446655440000",
    "53394611_bldg_6697_op_lod2_textured_2024_version_3.gml",
    "a-long-hyphenated-word-with-many-parts-and-2-numbers-in-it",
    "sk-learn is spelt scikit-learn; a task-based-approach-to-disk-scheduling-problems",
    "https://user@host.org/path and git@github.com:owner/name.git",
    "http://localhost:8888/lab/tree/a@b and https://host:443/@someone?x=a@b.c",
    "f'https://{user}:{password}@{host}/'",
    "https://user:password@host, https://<user>:<password>@host, https://$USER:$PASSWORD@host",
    "password: str, secret: str | None = None, token=os.environ['HF_TOKEN']",
    "export HF_TOKEN=$MY_TOKEN; api_key: WANDB_API_KEY",
    "password = getpass.getpass('password: ')",
    "the secret of good training: patience_and_a_schedule",
    "KEY, TOKEN, SECRET and PASSWORD are words in names of variables",
    "data:image/png;base64," + made(BASE64, 9000) + "==",
    made(BASE64, 76) + "\n" + made(BASE64, 76),
    "PWD=/home/jovyan/work2 OLDPWD=/root/x1",
    "pip install pypi-simple npm_package hf_hub",
    "?page=2&sig_digits=4&signature_scheme=none&design=x",
    "-----BEGIN CERTIFICATE-----\n" + made(BASE64, 64) + "\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\n" + made(BASE64, 64) + "\n-----END PUBLIC KEY-----",
    "authorization required: the bearer of this letter",
    "eyJ is how JSON begins in base64",
    "docker run -u 1000:1000 --user me:users image; tool -u a:b; --token-type x; --key-file a1",
    "set a cookie: yes=no, and 'auth': 'none', or \"auth\": \"basic\"",
    "AKIA or ASIA begin a key of AWS",
    "step 100 loss 0.123 lr 3e-4 samples_per_s 1234.5 seconds 12.3",
)
