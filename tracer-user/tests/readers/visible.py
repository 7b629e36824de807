"""Text as the tool makes it safe for a terminal."""


def visible(text):
    """The same text with every character that a terminal would act upon as its escape."""
    acts = lambda c: (
        c < 0x20 or 0x7F <= c <= 0x9F or c == 0x61C or 0x200B <= c <= 0x200F
        or 0x2028 <= c <= 0x202E or 0x2060 <= c <= 0x206F or c == 0xFEFF
        or 0xFFF9 <= c <= 0xFFFB or 0xE0000 <= c <= 0xE007F
    )
    made = []
    for character in text:
        code = ord(character)
        if not acts(code):
            made.append(character)
        elif code <= 0xFF:
            made.append(f"\\x{code:02x}")
        else:
            made.append(f"\\u{{{code:x}}}")
    return "".join(made)
