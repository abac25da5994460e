"""A Streamlit app of one word: what any page of Streamlit costs."""

import streamlit as st

st.write("blank")
