"""What is known of IEMOCAP's seven-class subset (paper, Section 3)."""

CLASS_COUNTS = {
    "angry": 1103,
    "excited": 1041,
    "happy": 595,
    "sad": 1084,
    "frustrated": 1849,
    "surprise": 107,
    "neutral": 1708,
}
"""Class → utterances; all differ, so that a count names its class."""
