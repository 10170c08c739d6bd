"""The two Cloud Functions of a platform: idle shutdown and budget guard, deployed as one archive."""
