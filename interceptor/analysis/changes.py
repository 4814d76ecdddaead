"""Actions that change a packet and let the next rule be asked."""

from interceptor import model

Changing = (
    model.SetMark
    | model.SetMarkBits
    | model.SaveMark
    | model.RestoreMark
    | model.SetConnectionMark
    | model.MixMarks
    | model.SetZone
    | model.NoTrack
)
